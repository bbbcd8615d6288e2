"""The link of an agent whose loop is another than the runtime's."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from shoal.errors import LeaseLostError
from shoal.kernel.context import TAKING
from shoal.kernel.ports import RuntimeLink

__all__ = ["HopLink"]


class HopLink:
    """The runtime's link for the agent's loop: verbs hop to the runtime's loop, and come back with their result."""

    def __init__(self, link: RuntimeLink, home: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._home = home
        self.open = threading.Event()  # cleared while the agent is held
        self.open.set()
        self.held = False  # its own thread stands in ``is_stopping``
        self.abandoned = False
        self.thread_id = 0

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb on the runtime's loop."""
        self._refuse_abandoned()

        async def carry_out() -> Any:
            self._refuse_abandoned()  # again: it may have been killed on the way
            return await self._link.call(verb, invocation_id, args)

        if verb in TAKING:
            return self._take(_Taking(self._link, invocation_id, carry_out))
        return self._cross(carry_out())

    def _cross(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))  # on whichever loop asks

    async def _take(self, taking: _Taking) -> Any:
        try:
            return await self._cross(taking.carry_out())
        except asyncio.CancelledError:
            with contextlib.suppress(RuntimeError):  # the runtime has ended, and its mailboxes with it
                self._home.call_soon_threadsafe(taking.give_up)
            raise

    def is_stopping(self) -> bool:
        """Tell whether the work is to end; the agent's own thread waits here while it is held."""
        if not self.open.is_set() and threading.get_ident() == self.thread_id:
            self.held = True
            try:
                self.open.wait()
            finally:
                self.held = False
        return self.abandoned or self._link.is_stopping()

    def metric(self, kind: str, name: str, value: float) -> None:
        """Note a number; an abandoned agent's no longer counts."""
        if not self.abandoned:
            self._link.metric(kind, name, value)

    def _refuse_abandoned(self) -> None:
        if self.abandoned:
            raise LeaseLostError("This attempt was abandoned: what it still does is void")


class _Taking:
    """What one call takes from the mailbox, until it has crossed to the agent's loop. Lives on the runtime's."""

    def __init__(self, link: RuntimeLink, invocation_id: str | None, call: Callable[[], Awaitable[Any]]) -> None:
        self._link = link
        self._invocation_id = invocation_id
        self._call = call
        self._taken: Any = None
        self._given_up = False

    async def carry_out(self) -> Any:
        """Take."""
        self._taken = await self._call()
        if self._given_up:  # the news came before the call had begun
            self._give_back()
        return self._taken

    def give_up(self) -> None:
        """Hear that the agent was cancelled while it waited: what comes, or came, never reaches it."""
        self._given_up = True
        self._give_back()

    def _give_back(self) -> None:
        taken, self._taken = self._taken, None
        if taken:
            self._link.give_back(self._invocation_id, taken)
