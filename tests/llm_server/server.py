"""The server itself, in a thread of its own, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.llm_server import anthropic_wire, openai_wire, responses_wire
from tests.llm_server.behaviour import KINDS, Behaviour

START_SECONDS = 30


@dataclass(frozen=True)
class Seen:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class LlmServer:
    """``with LlmServer(say("hello"), …) as server:``. Each request takes the next behaviour, the last one stays."""

    def __init__(self, *behaviours: Behaviour) -> None:
        self.seen: list[Seen] = []
        self._queue = deque(behaviours)
        self._released = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio sends at once on
        self._socket.bind(("127.0.0.1", 0))  # sockets that say they are TCP; on others an answer waits for an ACK
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="llm-server")
        routes = [
            Route("/v1/chat/completions", self._openai, methods=["POST"]),
            Route("/v1/responses", self._responses, methods=["POST"]),
            Route("/v1/messages", self._anthropic, methods=["POST"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes),
            log_config=None,
            log_level=100,  # a connection that is dropped as planned is no news
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """Where the server is, without a path."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    @property
    def base_url(self) -> str:
        """What OpenAI's clients want: with ``/v1``."""
        return f"{self.url}/v1"

    def play(self, *behaviours: Behaviour) -> Self:
        """Begin anew with these; what still holds is let go."""
        self._released.set()
        self._released = threading.Event()
        self.seen = []
        self._queue = deque(behaviours)
        return self

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(START_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._released.set()
        self._server.should_exit = True
        self._thread.join(START_SECONDS)
        self._socket.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        async def main() -> None:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.001)
            self._ready.set()
            await serving

        asyncio.run(main())

    async def _openai(self, request: Request) -> Response:
        return await self._answer(request, openai_wire)

    async def _responses(self, request: Request) -> Response:
        return await self._answer(request, responses_wire)

    async def _anthropic(self, request: Request) -> Response:
        return await self._answer(request, anthropic_wire)

    async def _answer(self, request: Request, wire: ModuleType) -> Response:
        asked = await request.json()
        self.seen.append(Seen(request.url.path, dict(request.headers), asked))
        behaviour = self._queue.popleft() if len(self._queue) > 1 else self._queue[0]
        if behaviour.silent:
            await self._hold()
        if behaviour.body is not None:
            return Response(behaviour.body, headers=dict(behaviour.headers))
        if behaviour.kind:
            status = KINDS[behaviour.kind][0]
            return JSONResponse(wire.error_body(behaviour), status, headers=dict(behaviour.headers))
        if asked.get("stream"):
            return StreamingResponse(self._pieces(behaviour, asked, wire), media_type="text/event-stream")
        return JSONResponse(wire.whole(behaviour, asked), headers=dict(behaviour.headers))

    async def _pieces(self, behaviour: Behaviour, asked: dict[str, Any], wire: ModuleType) -> AsyncIterator[bytes]:
        brings, ends = wire.pieces(behaviour, asked)
        for piece in brings[: behaviour.after]:
            yield piece
        if behaviour.then == "hold":
            await self._hold()
        elif behaviour.then == "drop":
            raise ConnectionAbortedError("as planned")
        elif behaviour.then != "end":
            for piece in ends:
                yield piece

    async def _hold(self) -> None:
        released = self._released
        while not released.is_set():
            await asyncio.sleep(0.005)
