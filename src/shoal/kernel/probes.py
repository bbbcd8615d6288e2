"""Circles of waits over several nodes: probes that follow who waits for whom.

Edge chasing (Chandy, Misra, Haas 1983): whoever has waited for an agent of another node for a while sends a probe to that
agent's node. There it is passed along the waits; when it comes back to the handler that sent it, the wait can never end.
Each edge is looked at while its question is still open, so a circle that is reported was there. Of several handlers on
one circle only the one with the smallest invocation id is answered: one error breaks a circle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import DeadlockError
from shoal.kernel.message import AgentMessage
from shoal.kernel.waits import follow

if TYPE_CHECKING:
    from shoal.kernel.entry import Entry
    from shoal.kernel.post import Post

__all__ = ["Probes"]

FIRST_SECONDS = 0.5
AGAIN_SECONDS = 1.0
MAX_NAMES = 64
"""A probe that has come this far goes round on a circle that its sender only waits for."""


class _Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A question under way: does ``target``, asked with ``message_id``, wait for ``initiator``'s wait ``asked``?"""

    initiator: str
    asked: str
    names: tuple[str, ...]
    target: str
    message_id: str


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """The answer: it does, along these names."""

    asked: str
    cycle: tuple[str, ...]


class Probes:
    """The waits of this node's handlers for agents of other nodes."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._waits: dict[str, asyncio.Future[None]] = {}  # by message id: ends with DeadlockError when it never would

    def hear(self) -> list[Callable[[], None]]:
        """Begin to hear probes; returns what ends it."""
        bus = self._post.env.bus
        return [bus.hear("probe", self._passed), bus.hear("deadlock", self._found)]

    async def guarded(
        self, entry: Entry, message: AgentMessage, asking: Coroutine[Any, Any, AgentMessage]
    ) -> AgentMessage:
        """Wait for the answer of an agent of another node. Raises DeadlockError when it can never come."""
        loop = asyncio.get_running_loop()
        verdict: asyncio.Future[None] = loop.create_future()
        self._waits[message.message_id] = verdict
        clock = self._post.env.clock
        timer = clock.call_later(FIRST_SECONDS, lambda: send())

        def send() -> None:
            nonlocal timer
            timer = clock.call_later(AGAIN_SECONDS, send)
            self._ask(entry, message)

        answer = loop.create_task(asking, name=f"{entry.cell.name} asks")
        either: list[asyncio.Future[Any]] = [answer, verdict]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            return await answer if answer.done() else await _never(verdict)
        finally:
            timer.cancel()
            del self._waits[message.message_id]
            if not answer.done():
                answer.cancel()
                await asyncio.wait([answer])
            for over in either:  # who is cancelled in the moment that they end has no use for their errors
                if over.done() and not over.cancelled():
                    over.exception()

    def _ask(self, entry: Entry, message: AgentMessage) -> None:
        target = message.recipient_ids[0]
        initiator = entry.invocation.invocation_id
        names = (entry.cell.name,)
        self._ring(
            _Probe(
                initiator=initiator,
                asked=message.message_id,
                names=names,
                target=target,
                message_id=message.message_id,
            )
        )

    def _ring(self, probe: _Probe) -> None:
        self._post.env.bus.ring("probe", msgspec.json.encode(probe).decode())

    def _passed(self, note: str) -> None:
        """Follow a probe as far as this node knows, and pass it on."""
        probe = msgspec.json.decode(note, type=_Probe)
        cell = self._post.cells.get(probe.target)
        if cell is None or probe.message_id not in cell.inbox.asks or len(probe.names) > MAX_NAMES:
            return
        names = probe.names
        for entry, request in follow(cell, probe.message_id):
            names = (*names, entry.cell.name)
            here = entry.invocation.invocation_id
            if here == probe.initiator:
                found = _Found(asked=probe.asked, cycle=names)
                self._post.env.bus.ring("deadlock", msgspec.json.encode(found).decode())
                return
            if request is None:
                return
            target = request.recipient_ids[0]
            if target not in self._post.cells:
                if here > probe.initiator:  # a smaller one sends probes of its own
                    passed = msgspec.structs.replace(probe, names=names, target=target, message_id=request.message_id)
                    self._ring(passed)
                return

    def _found(self, note: str) -> None:
        found = msgspec.json.decode(note, type=_Found)
        verdict = self._waits.get(found.asked)
        if verdict is not None and not verdict.done():
            self._post.asking.deadlock(found.cycle)
            verdict.set_exception(DeadlockError(found.cycle))


async def _never(verdict: asyncio.Future[None]) -> AgentMessage:
    await verdict
    raise AssertionError("a verdict is an error")
