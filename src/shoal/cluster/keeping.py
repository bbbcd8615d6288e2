"""Starting a server again that has died, as a supervisor does: longer waits each time, and not for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shoal.cluster.process import ServerProcess
from shoal.errors import ServerError
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.ports import Clock
from shoal.kernel.supervision import RestartWindow

__all__ = ["Server", "keep"]

_SHOWN = 400  # characters of why it did not start


class Server(Protocol):
    """A server with its process; what it has, data and port, is kept from one start to the next."""

    process: ServerProcess
    port: int | None

    async def start(self) -> None:
        """Start it and return when it answers. Raises ServerError."""
        ...


async def keep(name: str, server: Server, clock: Clock, say: Callable[[str], object], policy: RestartPolicy) -> None:
    """Start *server* again whenever its process has died; return when *policy* allows it no more.

    Args:
        name: of the server, as people read it.
        server: one that runs.
        clock: the time source of its starter.
        say: hears each death and each start, a line each.
        policy: how often, and with which waits (the intensity rule of OTP's ``supervisor``).
    """
    window = RestartWindow(policy)
    how = await server.process.died()
    while (pause := window.next_delay(clock.monotonic())) is not None:
        say(f"{name}  died ({how}); it is started again")
        await clock.sleep(pause)
        try:
            await server.start()
        except ServerError as error:
            how = " ".join(str(error).split())[:_SHOWN]
            continue
        say(f"{name}  port {server.port}  pid {server.process.pid}")
        how = await server.process.died()
    say(f"{name}  died ({how}); it is not started again")
