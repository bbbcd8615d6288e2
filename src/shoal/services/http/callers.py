"""Callers over HTTP that go, that do not come to the point, or that do not take their answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from shoal.errors import RequestError
from shoal.kernel.ports import Clock, Timer
from shoal.services import codes

__all__ = ["HEAD_SECONDS", "TAKE_SECONDS", "patient", "while_there"]

T = TypeVar("T")
HEAD_SECONDS = 10.0
"""So long a connection may be without a whole head of a request."""
TAKE_SECONDS = 30.0
"""So long an answer may wait for its caller to take what is on the way."""


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what comes of *work*; it is cancelled when the caller has gone. The request's body has been read.

    Raises RequestError (CANCELLED): the caller has gone; and what *work* raises.
    """
    working: asyncio.Task[T] = asyncio.ensure_future(work)
    going = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait([working, going], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RequestError(codes.CANCELLED, "who asked has gone")
        return working.result()
    finally:
        working.cancel()
        going.cancel()
        await asyncio.wait([working, going])


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def patient(clock: Clock) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol with bounds on what keeps a connection without using it.

    There are so many connections and no more: who opens them and says nothing, or takes nothing, would shut out all others.
    """

    class Patient(H11Protocol):
        _for_head: Timer | None = None
        _for_room: Timer | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._look()

        def handle_events(self) -> None:
            super().handle_events()
            self._look()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._look()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._for_head = _off(self._for_head)
            self._for_room = _off(self._for_room)

        def pause_writing(self) -> None:
            super().pause_writing()
            _off(self._for_room)
            self._for_room = clock.call_later(TAKE_SECONDS, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._for_room = _off(self._for_room)

        def _look(self) -> None:
            """Give the next head its time, from when the connection has nothing else to do."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._for_head = _off(self._for_head)
            elif self._for_head is None and not self.transport.is_closing():
                self._for_head = clock.call_later(HEAD_SECONDS, self.transport.close)

    return Patient


def _off(timer: Timer | None) -> Timer | None:
    if timer is not None:
        timer.cancel()
    return None
