"""What becomes of a tool when a crash hid how it ended, and of questions that a person decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from shoal.kernel.run import Approval, RunEventType, RunOptions, RunStep
from shoal.kernel.scope import StepOrder, Stopped, Ticket
from shoal.llm.model import ToolCall
from shoal.llm.tools import Tool, ToolContext, ToolRecord
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.toolruns import Life, asked

Run = Callable[..., Any]


class Crashing:
    """A tool that is in the middle of its work when the first life ends."""

    def __init__(self, **fields: Any) -> None:
        self.keys: list[str] = []
        self.begun = asyncio.Event()

        async def pay(ctx: ToolContext, to: str) -> str:
            self.keys.append(ctx.key)
            if len(self.keys) == 1:
                self.begun.set()
                await asyncio.Event().wait()
            return f"paid {to}"

        self.tool = Tool(pay, **fields)

    async def crash(self, call: ToolCall, life: Life) -> Life:
        """Return the life in whose middle of the tool all ended."""
        work = asyncio.ensure_future(life.call(call, "t1"))
        await self.begun.wait()
        work.cancel()
        await asyncio.wait([work])
        return life


async def second_life(crashing: Crashing, *, durable: bool = False) -> tuple[Life, Life]:
    first = await crashing.crash(asked("pay", to="bob"), Life([crashing.tool], durable=durable))
    return first, Life([crashing.tool], first.runs, durable=durable)


async def question(life: Life) -> Approval:
    """Return the one question that waits, once it is asked."""
    while not (open_ones := life.runs.approvals("run1")):
        await asyncio.sleep(0)
    (found,) = open_ones
    return found


async def decided(life: Life, decision: Any, note: str = "") -> Approval:
    found = await question(life)
    await life.runs.decide(found.id, decision, "eve", note=note, now=life.clock.now())
    life.live.asking.news.wake()
    return found


@pytest.mark.spec("O36")
@pytest.mark.parametrize("effect", ["repeat", "keyed"])
def test_repeat_and_keyed_run_again_with_the_same_key(run: Run, effect: str) -> None:
    async def main() -> None:
        crashing = Crashing(effect=effect)
        first, second = await second_life(crashing)
        assert ("t1" in first.live.recorded) == (effect == "keyed")  # its intent was written before it began
        record = await second.call(asked("pay", to="bob"), "t1")
        assert (record.content, record.replayed) == ("paid bob", False)
        assert len(crashing.keys) == 2 and len(set(crashing.keys)) == 1

    run(main)


@pytest.mark.spec("O36")
def test_once_is_not_run_again_and_the_model_is_told(run: Run) -> None:
    async def main() -> None:
        crashing = Crashing(effect="once")
        _, second = await second_life(crashing)
        record = await second.call(asked("pay", to="bob"), "t1")
        assert len(crashing.keys) == 1
        assert not record.success
        assert record.content == (
            "Error: the process ended while 'pay' ran, so it is not known whether it was done; it was not run again"
        )
        third = await Life([crashing.tool], second.runs).call(asked("pay", to="bob"), "t1")
        assert (third.content, third.replayed) == (record.content, True)

    run(main)


@pytest.mark.spec("O36")
@pytest.mark.parametrize(
    ("decision", "note", "success", "content"),
    [
        ("approved", "receipt 17", True, "receipt 17"),
        ("approved", "", True, "'pay' was done: a person (eve) has looked."),
        ("denied", "no receipt", False, "Error: 'pay' was not done: no receipt; a person (eve) has looked"),
    ],
)
def test_a_person_says_how_once_went(run: Run, decision: str, note: str, success: bool, content: str) -> None:
    async def main() -> None:
        crashing = Crashing(effect="once")
        _, second = await second_life(crashing, durable=True)
        work = asyncio.ensure_future(second.call(asked("pay", to="bob"), "t1"))
        asked_for = await decided(second, decision, note)
        record = await work
        assert (asked_for.kind, asked_for.tool, asked_for.arguments) == ("outcome", "pay", {"to": "bob"})
        assert (record.success, record.content, record.approved_by) == (success, content, "eve")
        assert len(crashing.keys) == 1
        await second.live.settle_down()

    run(main)


def test_an_approved_once_asks_how_it_went_and_does_not_take_the_approval_for_it(run: Run) -> None:
    async def main() -> None:
        crashing = Crashing(effect="once", approval=True)
        first = Life([crashing.tool], durable=True)
        crash = asyncio.ensure_future(crashing.crash(asked("pay", to="bob"), first))
        await decided(first, "approved")
        await crash
        second = Life([crashing.tool], first.runs, durable=True)
        work = asyncio.ensure_future(second.call(asked("pay", to="bob"), "t1"))
        assert (await decided(second, "approved", "it went through")).kind == "outcome"
        assert (await work).content == "it went through"
        assert len(crashing.keys) == 1
        await second.live.settle_down()

    run(main)


def paying(log: list[str], **fields: Any) -> Tool:
    def pay(to: str) -> str:
        log.append(to)
        return f"paid {to}"

    return Tool(pay, approval=True, **fields)


@pytest.mark.spec("O35")
@pytest.mark.parametrize("effect", ["repeat", "keyed", "once"])
def test_killed_while_waiting_then_approved_runs_once(run: Run, effect: str) -> None:
    async def main() -> None:
        log: list[str] = []
        models: list[str] = []

        async def model(ticket: Ticket) -> str:
            models.append(ticket.key)
            return "pay bob"

        async def turn(life: Life) -> tuple[RunStep, ToolRecord]:
            step = await life.root.step(StepOrder(segment="model1", kind="model"), model)
            return step, await life.call(asked("pay", to="bob"), "t1")

        first = Life([paying(log, effect=effect)], durable=True)
        work = asyncio.ensure_future(turn(first))
        before = await question(first)
        work.cancel()
        await asyncio.wait([work])
        await first.live.settle_down()

        second = Life([paying(log, effect=effect)], first.runs, durable=True)
        work = asyncio.ensure_future(turn(second))
        again = await question(second)
        assert (again.id, again.sha256, log) == (before.id, before.sha256, [])
        await decided(second, "approved")
        _, record = await work
        assert (record.content, record.approved_by, log, models) == ("paid bob", "eve", ["bob"], ["model1"])
        await second.live.settle_down()

        third = Life([paying(log, effect=effect)], second.runs, durable=True)
        _, replayed = await turn(third)
        assert (replayed.content, replayed.approved_by, replayed.replayed) == ("paid bob", "eve", True)
        assert (log, models) == (["bob"], ["model1"])
        await third.live.settle_down()

    run(main)


@pytest.mark.spec("O35")
def test_changed_arguments_ask_anew(run: Run) -> None:
    async def main() -> None:
        log: list[str] = []
        first = Life([paying(log)], durable=True)
        work = asyncio.ensure_future(first.call(asked("pay", to="bob"), "t1"))
        bob = await decided(first, "approved")
        assert (await work).success
        await first.live.settle_down()
        second = Life([paying(log)], first.runs, durable=True, options=RunOptions(on_change="rerun"))
        work = asyncio.ensure_future(second.call(asked("pay", to="mallory"), "t1"))
        mallory = await question(second)
        assert mallory.id != bob.id and log == ["bob"]
        await decided(second, "denied", "who?")
        record = await work
        assert record.content == "Error: 'pay' was denied by eve: who?; it was not run"
        assert log == ["bob"]
        await second.live.settle_down()

    run(main)


@pytest.mark.spec("O35")
def test_a_denial_reaches_the_model_and_is_recorded(run: Run) -> None:
    async def main() -> None:
        log: list[str] = []
        life = Life([paying(log, effect="once")], durable=True)
        work = asyncio.ensure_future(life.call(asked("pay", to="bob"), "t1"))
        await decided(life, "denied")
        record = await work
        assert (record.success, record.content, log) == (False, "Error: 'pay' was denied by eve; it was not run", [])
        assert not life.told(RunEventType.TOOL_STARTED)
        await life.live.settle_down()
        again = Life([paying(log, effect="once")], life.runs, durable=True)
        assert (await again.call(asked("pay", to="bob"), "t1")).content == record.content
        await again.live.settle_down()

    run(main)


def test_nobody_decides_in_time() -> None:
    async def main(clock: VirtualClock) -> None:
        log: list[str] = []
        life = Life([paying(log, approval_timeout=30)], clock=clock, durable=True)
        record = await life.call(asked("pay", to="bob"), "t1")
        assert record.error == "nobody decided within 30 s whether 'pay' may run; it was not run"
        assert (clock.monotonic(), log) == (30.0, [])
        await life.live.settle_down()

    run_virtual(main)


def test_a_run_that_does_not_wait_stops_before_the_tool(run: Run) -> None:
    async def main() -> None:
        log: list[str] = []
        life = Life([paying(log)], durable=True, options=RunOptions(on_wait="return"))
        with pytest.raises(Stopped, match="waits for the approval"):
            await life.call(asked("pay", to="bob"), "t1")
        assert log == [] and "t1" not in life.live.recorded
        await life.live.settle_down()

    run(main)


def test_a_once_that_was_begun_is_never_said_to_be_denied(run: Run) -> None:
    async def main() -> None:
        crashing = Crashing(effect="once")
        first, _ = await second_life(crashing)
        stricter = Tool(crashing.tool.target, effect="once", approval=True)
        second = Life([stricter], first.runs, durable=True)
        work = asyncio.ensure_future(second.call(asked("pay", to="bob"), "t1"))
        assert (await decided(second, "approved", "it went through")).kind == "outcome"
        assert (await work).content == "it went through"
        await second.live.settle_down()

    run(main)
