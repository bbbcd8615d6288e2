"""What runs in a child: answers, cancellations that meet them, and the child's end."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from shoal.boxes import wire
from shoal.boxes.invocations import Invocations
from shoal.errors import DeadAgentError
from shoal.kernel.clock import RealClock
from shoal.kernel.failure import RemoteError
from shoal.kernel.ports import Invocation


class Child:
    """Begins one invocation, and keeps what the child is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.invocations = Invocations(
            lambda frame: self.sent.append(msgspec.json.decode(frame[5:])["type"]), RealClock()
        )
        self.running: asyncio.Task[Any]

    async def begin(self) -> None:
        self.running = asyncio.ensure_future(self.invocations.run(Invocation(invocation_id="i", hook="on_message")))
        await asyncio.sleep(0)

    def done(self, value: object = None, error: str | None = None) -> None:
        told = None if error is None else wire.ErrorRecord(type=error)
        self.invocations.done(wire.Done(id="i", data=msgspec.Raw(msgspec.json.encode(value)), error=told))


def test_an_answer_that_meets_a_cancellation_counts(run: Any) -> None:
    async def main() -> None:
        for cancelled_first in (True, False):
            child = Child()
            await child.begin()
            if cancelled_first:
                child.running.cancel()
                child.done(1)
            else:
                child.done(1)
                child.running.cancel()
            assert await child.running == 1
            assert not child.invocations.open

    run(main)


def test_each_cancellation_is_passed_on_until_the_hook_ends(run: Any) -> None:
    async def main() -> None:
        child = Child()
        await child.begin()
        for count in (1, 2):
            child.running.cancel()
            await asyncio.sleep(0)
            assert child.sent == ["invoke", *["cancel"] * count]
            assert not child.running.done()
        child.done(error="CancelledError")
        with pytest.raises(asyncio.CancelledError):
            await child.running
        assert child.running.cancelled()
        child.done(2)  # nobody waits for it

    run(main)


def test_a_hook_that_cancels_itself_has_raised(run: Any) -> None:
    async def main() -> None:
        child = Child()
        await child.begin()
        child.done(error="CancelledError")
        with pytest.raises(RemoteError):
            await child.running

    run(main)


@pytest.mark.parametrize("cancelled", [False, True])
def test_the_childs_end_is_heard_also_in_a_cancellation(run: Any, cancelled: bool) -> None:
    async def main() -> None:
        child = Child()
        await child.begin()
        if cancelled:
            child.running.cancel()
        child.invocations.fail(DeadAgentError("gone", reason="died"))
        with pytest.raises(DeadAgentError):
            await child.running

    run(main)
