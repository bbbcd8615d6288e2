"""A run that does everything, on a node that is going to be cut off, beside one that takes it up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from shoal import Budget
from shoal.errors import RunActiveError
from shoal.kernel.budget import Need
from shoal.kernel.ports import Hold, RunWrite
from shoal.kernel.scope import Scope, StepOrder, Ticket
from tests.support.cuts import HeldBack, env_of
from tests.support.runtimes import running

__all__ = ["HELD_BACK", "LEASE", "WORDS", "Errand", "Scene"]

LEASE = 1.0
FAR = 60.0
"""The lease of a node that gives nobody up in the time of a test: it judges others by its own."""

WORDS = [
    "begins",
    "has money",
    "called once",
    "went on",
    "called paid",
    "went on",
    "was told",
    "called last",
    "went on",
]


class Errand:
    """Does everything that a run can ask its store for, and says each time that it goes on."""

    name = "errand"

    def __init__(self, who: str, said: list[str], rest: Callable[[], Awaitable[None]] | None = None) -> None:
        self._who = who
        self._said = said
        self._rest = rest

    def _say(self, word: str) -> None:
        self._said.append(f"{self._who} {word}")

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> str:
        self._say("begins")
        place = scope.child("place")
        await place.open_budget(Budget(max_calls=10))
        self._say("has money")
        await self._step(scope, StepOrder(segment="once", kind="tool", effect="once"))
        await self._step(place, StepOrder(segment="paid", kind="model", need=Need()))
        await scope.run.asking.approval("question", "tool", tool="ask")
        self._say("was told")
        if self._rest is not None:
            await self._rest()
        await self._step(scope, StepOrder(segment="last", kind="chat"))
        return "done"

    async def _step(self, scope: Scope, order: StepOrder) -> None:
        async def call(ticket: Ticket) -> None:
            self._say(f"called {order.segment}")

        await scope.step(order, call)
        self._say("went on")

    def decode_result(self, data: Any) -> str:
        return str(data)


def _intent(hold: Hold, write: RunWrite) -> bool:
    return write.step is not None and write.step.finished_at is None


def _result(hold: Hold, write: RunWrite) -> bool:
    return write.step is not None and write.step.finished_at is not None


HELD_BACK: dict[str, tuple[str, Callable[..., bool], int]] = {
    "begin": ("begin", lambda order: True, 0),
    "money": ("open_account", lambda *given: True, 1),
    "intent": ("write", _intent, 2),
    "result": ("write", _result, 3),
    "reserve": ("reserve", lambda *given: True, 4),
    "question": ("ask", lambda *given: True, 6),
    "decision": ("resume", lambda *given: True, 6),
}
"""By what is asked for: the verb, which call of it, and how many words are said before its answer."""


class Scene:
    """Two nodes on one store, one of which is going to be cut off, and a person who says yes to everything."""

    def __init__(self, store_url: str, said: list[str], lease: float = LEASE) -> None:
        self._url = store_url
        self._lease = lease
        self.said = said

    async def __aenter__(self) -> Scene:
        async with AsyncExitStack() as stack:
            self.other = await stack.enter_async_context(running(self._url, lease_seconds=FAR))
            self.node = await stack.enter_async_context(running(self._url, lease_seconds=self._lease))
            person = asyncio.create_task(self._decide())
            stack.callback(person.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self._stack.aclose()

    async def _decide(self) -> None:
        while True:
            for question in self.other.runs.approvals("r"):
                await self.other.runs.approve(question.id, "somebody")
            await asyncio.sleep(0.01)

    def held_back(self, what: str) -> HeldBack:
        verb, which, _ = HELD_BACK[what]
        return HeldBack(env_of(self.node).store.runs, verb, which)

    async def taken_up(self) -> None:
        """Let the other node carry the run out to its end, as soon as it may."""
        while True:
            try:
                assert await self.other.run(Errand("other", self.said), "go", run_id="r") == "done"
                return
            except RunActiveError:
                await asyncio.sleep(0.01)

    def by(self, who: str) -> list[str]:
        return [word.removeprefix(f"{who} ") for word in self.said if word.startswith(f"{who} ")]
