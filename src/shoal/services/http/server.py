"""The registry's server: uvicorn in the runtime's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import uvicorn

from shoal.errors import ConfigError
from shoal.services.http.application import application
from shoal.services.http.callers import patient
from shoal.services.http.limits import is_loopback
from shoal.services.tokens import Tokens

if TYPE_CHECKING:
    from shoal.services.services import Services

__all__ = ["HttpServing", "serve"]

MOST_CONNECTIONS = 1_000
BACKLOG = 512


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the runtime."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServing:
    """A registry that is served: ``host``, ``port`` and ``url`` say where. It ends with its runtime, or by ``close``."""

    def __init__(self, server: uvicorn.Server, host: str, port: int) -> None:
        self._server = server
        self._work: asyncio.Task[None] | None = None
        self.host = host
        self.port = port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def begin(self, services: Services, listener: socket.socket) -> None:
        """Begin to serve."""
        self._work = services.node.env.spawn(self._serve(listener), f"registry at {self.url}")

    async def _serve(self, listener: socket.socket) -> None:
        try:
            await self._server.serve(sockets=[listener])
        except asyncio.CancelledError:
            self._server.force_exit = True
            for under_way in list(self._server.server_state.tasks):
                under_way.cancel()
            if self._server.started:
                await self._server.shutdown(sockets=[listener])
            raise
        finally:
            listener.close()

    async def close(self) -> None:
        """Stop taking requests, let those under way end, and return. Twice is once."""
        self._server.should_exit = True
        if self._work is not None:
            await asyncio.wait([self._work])


async def serve(services: Services, host: str, port: int, tokens: Tokens, ttl: float) -> HttpServing:
    """Serve the registry. See ``Services.serve_http``."""
    env = services.node.env
    env.check_running()
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, address = found[0]
    if not tokens and not is_loopback(str(address[0])):
        raise ConfigError(
            f"host: without tokens the registry is served on loopback only, and {host!r:.80} is {address[0]}",
            note="Give tokens, such as {'...': 'read', '...': 'admin'}, or serve on 127.0.0.1.",
        )
    listener = _listener(family, address)
    config = uvicorn.Config(
        application(lambda: services, tokens, ttl),
        http=patient(env.clock),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # an address that a caller may name is no address to count by
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=1,
    )
    serving = HttpServing(_Server(config), str(address[0]), listener.getsockname()[1])
    serving.begin(services, listener)
    return serving


def _listener(family: int, address: tuple[Any, ...]) -> socket.socket:
    """Return a socket that listens. It says that it is TCP: asyncio turns Nagle's delay off for no other."""
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
