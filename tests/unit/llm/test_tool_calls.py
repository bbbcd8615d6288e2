"""Calls of tools: the model reads what went wrong, what is recorded is not done again, results are text."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from shoal import Agent
from shoal.errors import ApprovalRequiredError, RunChangedError, ToolError
from shoal.kernel.bounded import CLEAN_UP_SECONDS
from shoal.kernel.run import Approval, RunEventType, RunOptions
from shoal.kernel.scope import StepOrder, Stopped, Ticket, current_scope
from shoal.kernel.usage import Usage
from shoal.llm.doubles import scripted
from shoal.llm.model import ModelRequest, ToolCall
from shoal.llm.tools import ToolContext, tool
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.toolruns import Life, asked

Run = Callable[..., Any]


def add(a: int, b: int = 1) -> int:
    return a + b


async def echo(text: str) -> str:
    return text


def test_sync_and_async_tools(run: Run) -> None:
    async def main() -> None:
        life = Life([add, echo])
        one = await life.call(asked("add", "c1", a=2, b=3))
        two = await life.call(asked("echo", "c2", text="hé"))
        assert (one.call_id, one.name, one.arguments, one.content) == ("c1", "add", {"a": 2, "b": 3}, "5")
        assert (two.content, two.success, two.error, two.replayed) == ("hé", True, None, False)
        assert life.live.usage == Usage(tool_calls=2)
        assert two.duration_ms > 0

    run(main)


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (ToolCall(call_id="c", name="sum"), "there is no tool 'sum'; nothing was run. The tools are: add, echo."),
        (ToolCall(call_id="c", name="ad"), "there is no tool 'ad'; did you mean 'add'? nothing was run."),
        (ToolCall(call_id="c", name="add", arguments='{"a": '), "the arguments of 'add' are not JSON: "),
        (
            ToolCall(call_id="c", name="add", arguments="[1]"),
            "must be a JSON object; nothing was run. The tools are: add",
        ),
        (ToolCall(call_id="c", name="add", arguments='{"a": "x"}'), "not valid: a: Expected `int`, got `str`; nothing"),
        (
            ToolCall(call_id="c", name="add", arguments=""),
            "missing required field `a`; nothing was run. The tools are: add",
        ),
    ],
)
def test_what_cannot_be_run_is_told_with_the_names(run: Run, call: ToolCall, words: str) -> None:
    async def main() -> None:
        life = Life([add, echo])
        record = await life.call(call)
        assert not record.success and record.error is not None
        assert record.content == f"Error: {record.error}"
        assert words.replace("'? nothing", "'?; nothing") in record.error
        assert record.error.endswith("The tools are: add, echo.")
        assert life.live.usage == Usage() and not life.told(RunEventType.TOOL_STARTED)
        again = await Life([add, echo], life.runs).call(call)
        assert (again.content, again.replayed) == (record.content, True)

    run(main)


def test_without_tools_the_model_is_told_so(run: Run) -> None:
    async def main() -> None:
        record = await Life().call(ToolCall(call_id="c", name="x"))
        assert record.error == "there is no tool 'x'; nothing was run. There are no tools."

    run(main)


def test_what_a_tool_raises_is_its_result(run: Run) -> None:
    async def broken(how: str) -> str:
        match how:
            case "value":
                raise ValueError("bad \ud800 thing")
            case "timeout":
                raise TimeoutError
            case "exit":
                sys.exit(3)
            case "cancel":
                raise asyncio.CancelledError
        raise StopAsyncIteration

    def broken_sync() -> None:
        sys.exit("over")

    async def main() -> None:
        life = Life([broken, broken_sync])
        errors = {
            how: (await life.call(asked("broken", how=how))).error for how in ("value", "timeout", "exit", "cancel")
        }
        assert errors == {
            "value": "ValueError: bad ? thing",
            "timeout": "TimeoutError",
            "exit": "SystemExit: 3",
            "cancel": "CancelledError",
        }
        assert (await life.call(asked("broken_sync"))).content == "Error: SystemExit: over"
        assert (await life.call(asked("broken", how=""))).error is not None

    run(main)


@dataclass
class Point:
    x: int


class Odd:
    def __repr__(self) -> str:
        return "<odd>"


@pytest.mark.spec("O50")
def test_results_are_text_json_or_a_repr_with_a_warning(run: Run) -> None:
    values: dict[str, Any] = {
        "text": "plain",
        "none": None,
        "dict": {"a": [1, 2.5], "b": "ü"},
        "dataclass": [Point(1)],
        "odd": Odd(),
        "nan": float("nan"),
        "lone": "a\ud800b",
    }

    def give(which: str) -> Any:
        return values[which]

    async def main() -> None:
        life = Life([give])
        told = {which: (await life.call(asked("give", which=which))).content for which in values}
        assert told == {
            "text": "plain",
            "none": "null",
            "dict": '{"a":[1,2.5],"b":"ü"}',
            "dataclass": '[{"x":1}]',
            "odd": "<odd>",
            "nan": "nan",
            "lone": "a?b",
        }
        assert [warning.partition(" (")[0] for warning in life.live.warnings] == [
            "tool 'give' returned Odd, which is no JSON value",
            "tool 'give' returned float, which is no JSON value",
        ]
        again = Life([give], life.runs)
        for which in values:
            await again.call(asked("give", which=which))
        assert again.live.warnings == life.live.warnings

    run(main)


def test_only_what_the_model_sees_is_cut(run: Run) -> None:
    async def main() -> None:
        @tool(max_chars=100)
        def long() -> str:
            return "a" * 500 + "z" * 500

        life = Life([long])
        record = await life.call(asked("long"), "t")
        assert record.content == "a" * 70 + "\n[… 900 characters left out …]\n" + "z" * 30
        step = life.live.recorded["t"]
        assert isinstance(step.output, dict) and len(step.output["content"]) == 1000

    run(main)


def test_the_context_of_a_call(run: Run) -> None:
    seen: list[ToolContext] = []

    def look(ctx: ToolContext, what: str) -> str:
        seen.append(ctx)
        return what

    async def main() -> None:
        for _ in range(2):
            await Life([look]).call(asked("look", "c9", what="w"), "t1")
        await Life([look]).call(asked("look", "c9", what="w"), "t2")
        first, second, other = seen
        assert (first.run_id, first.agent_name, first.user_id, first.call_id) == ("run1", "Ada", "ann", "c9")
        assert first.key == second.key != other.key and len(first.key) == 64
        assert not first.cancelled()

    run(main)


def test_a_thread_has_the_callers_context_variables_and_is_a_daemon(run: Run) -> None:
    variable = contextvars.ContextVar("variable", default="")

    def look() -> list[Any]:
        return [
            variable.get(),
            threading.current_thread().daemon,
            threading.current_thread() is threading.main_thread(),
        ]

    @tool(isolation="thread")
    async def look_async() -> list[Any]:
        await asyncio.sleep(0)
        return look()

    async def main() -> None:
        variable.set("mine")
        life = Life([look, look_async])
        for name in ("look", "look_async"):
            assert (await life.call(asked(name))).content == '["mine",true,false]'

    run(main)


@pytest.mark.spec("O34")
def test_an_async_tool_over_its_time_is_cancelled_and_the_next_turn_works() -> None:
    async def main(clock: VirtualClock) -> None:
        cancelled = asyncio.Event()

        @tool(timeout=0.5)
        async def slow(ctx: ToolContext) -> str:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return ""

        life = Life([slow, add], clock=clock)
        before = clock.monotonic()
        record = await life.call(asked("slow"), "t1")
        assert clock.monotonic() - before == 0.5 and cancelled.is_set()
        assert record.error == "ToolTimeoutError: tool 'slow' did not end within 0.5 s"
        assert record.duration_ms == 500.0
        assert (await life.call(asked("add", a=1))).content == "2"
        again = await Life([slow, add], life.runs, clock=clock).call(asked("slow"), "t1")
        assert (again.error, again.replayed, clock.monotonic() - before) == (record.error, True, 0.5)

    run_virtual(main)


@pytest.mark.spec("O34")
def test_the_model_is_told_of_the_time_out_and_goes_on() -> None:
    async def main(clock: VirtualClock) -> None:
        @tool(timeout=2)
        async def slow() -> None:
            await asyncio.sleep(100)

        def last(request: ModelRequest) -> str:
            return request.messages[-1].content

        calls: list[Any] = [ToolCall(call_id="1", name="slow"), last, asked("add", "2", a=1), last]
        agent: Agent[str] = Agent(model=scripted(calls), tools=[slow, add])
        life = Life(clock=clock)
        with life.root.entered():
            answers = [await agent.chat("do it") for _ in range(2)]
        assert [answer.content for answer in answers] == [
            "Error: ToolTimeoutError: tool 'slow' did not end within 2 s",
            "2",
        ]
        assert clock.monotonic() == 2.0

    run_virtual(main)


def test_a_coroutine_that_does_not_listen_is_abandoned_and_reported() -> None:
    async def main(clock: VirtualClock) -> None:
        over = asyncio.Event()

        @tool(timeout=0.5)
        async def deaf() -> str:
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue
            return "too late"

        life = Life([deaf], clock=clock)
        record = await life.call(asked("deaf"), "t1")
        assert clock.monotonic() == 0.5 + CLEAN_UP_SECONDS
        assert record.error == "ToolTimeoutError: tool 'deaf' did not end within 0.5 s"
        warning = "tool 'deaf' went on after its time was up: its coroutine was abandoned"
        assert life.live.warnings == [warning]
        over.set()
        again = Life([deaf], life.runs, clock=clock)
        await again.call(asked("deaf"), "t1")
        assert again.live.warnings == [warning]

    run_virtual(main)


@pytest.mark.spec("O34")
def test_a_thread_over_its_time_is_told_then_abandoned_and_reported(run: Run) -> None:
    release = threading.Event()
    listened: list[bool] = []

    @tool(timeout=0.05)
    def stuck() -> str:
        release.wait(60)
        return "too late"

    @tool(timeout=0.05)
    def listening(ctx: ToolContext) -> str:
        while not ctx.cancelled():
            release.wait(0.005)
        listened.append(True)
        return "ended by itself"

    async def main() -> None:
        life = Life([stuck, listening, add])
        try:
            late = await life.call(asked("stuck"))
            assert late.error == "ToolTimeoutError: tool 'stuck' did not end within 0.05 s"
            assert (await life.call(asked("listening"))).error is not None
            assert listened == [True]
            assert life.live.warnings == ["tool 'stuck' went on after its time was up: its thread was abandoned"]
            assert (await life.call(asked("add", a=1))).content == "2"
        finally:
            release.set()

    run(main)


def test_cancelling_the_caller_cancels_the_tool_and_records_nothing(run: Run) -> None:
    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        life = Life([wait])
        work = asyncio.ensure_future(life.call(asked("wait"), "t1"))
        await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert ended.is_set() and "t1" not in life.live.recorded

    run(main)


def test_events_tell_of_each_run(run: Run) -> None:
    async def main() -> None:
        life = Life([add])
        await life.call(asked("add", "c7", a=1), "t1")
        started, finished = life.told(RunEventType.TOOL_STARTED, RunEventType.TOOL_FINISHED)
        assert (started.path, started.agent_name) == ("t1", "Ada")
        assert started.data == {"tool": "add", "call_id": "c7", "arguments": {"a": 1}}
        assert (finished.data["success"], finished.data["error"]) == (True, None)
        assert [event.data["kind"] for event in life.told(RunEventType.STEP_STARTED)] == ["tool"]

    run(main)


def test_a_replayed_call_runs_nothing_and_changed_arguments_are_noticed(run: Run) -> None:
    calls: list[int] = []

    def note(a: int) -> int:
        calls.append(a)
        return a

    async def main() -> None:
        life = Life([note])
        await life.call(asked("note", a=1), "t1")
        again = Life([note], life.runs)
        record = await again.call(asked("note", a=1), "t1")
        assert (record.replayed, record.content, calls) == (True, "1", [1])
        assert again.live.usage == Usage(tool_calls=1) and not again.told(RunEventType.TOOL_STARTED)
        with pytest.raises(RunChangedError):
            await Life([note], life.runs).call(asked("note", a=2), "t1")
        anew = Life([note], life.runs, options=RunOptions(on_change="rerun"))
        assert (await anew.call(asked("note", a=2), "t1")).content == "2"
        assert calls == [1, 2]

    run(main)


def test_what_is_called_within_a_tool_has_a_place_of_its_own_and_counts_once(run: Run) -> None:
    made: list[str] = []

    async def paid(ticket: Ticket) -> str:
        made.append(ticket.key)
        ticket.usage = Usage(calls=1, cost_pico=7)
        return ""

    async def ask() -> str:
        scope = current_scope.get()
        assert scope is not None
        place = scope.settle_in("Bob")
        await place.step(StepOrder(segment="model1", kind="model"), paid)
        return "answer"

    async def main() -> None:
        life = Life([ask])
        await life.call(asked("ask"), "tool1:ask")
        assert made == ["tool1:ask/model1"]
        whole = Usage(calls=1, cost_pico=7, tool_calls=1)
        assert life.live.usage == whole
        again = Life([ask], life.runs)
        await again.call(asked("ask"), "tool1:ask")
        assert again.live.usage == whole and len(made) == 1

    run(main)


def test_what_ends_the_run_is_not_the_tools_fault(run: Run) -> None:
    async def stop() -> None:
        raise Stopped("budget")

    async def main() -> None:
        life = Life([stop])
        with pytest.raises(Stopped):
            await life.call(asked("stop"), "t1")
        assert "t1" not in life.live.recorded

    run(main)


def test_a_process_needs_a_runtime(run: Run) -> None:
    async def main() -> None:
        life = Life([tool(isolation="process")(add)])
        with pytest.raises(ToolError, match="tool 'add' has isolation='process', which needs a runtime") as raised:
            await life.call(asked("add", a=1), "t1")
        assert raised.value.tool == "add" and "t1" not in life.live.recorded

    run(main)


# -- approvals where the run is not durable


def test_without_anybody_to_ask_nothing_is_run(run: Run) -> None:
    calls: list[int] = []

    @tool(approval=True)
    def pay(a: int) -> None:
        calls.append(a)

    async def main() -> None:
        life = Life([pay])
        with pytest.raises(ApprovalRequiredError, match="pay of Ada needs a person's approval"):
            await life.call(asked("pay", a=1), "t1")
        assert calls == [] and "t1" not in life.live.recorded

    run(main)


def test_a_function_of_the_program_decides(run: Run) -> None:
    seen: list[Approval] = []

    @tool(approval=lambda arguments: arguments["a"] > 10)
    def pay(a: int) -> str:
        return f"paid {a}"

    async def decide(question: Approval) -> bool:
        seen.append(question)
        return question.arguments == {"a": 11}

    async def main() -> None:
        life = Life([pay])
        small = await life.call(asked("pay", a=10), decide=decide)
        large = await life.call(asked("pay", a=11), decide=decide)
        huge = await life.call(asked("pay", a=12), decide=decide)
        assert (small.content, small.approved_by) == ("paid 10", "")
        assert (large.content, large.approved_by) == ("paid 11", "approve")
        assert (huge.success, huge.content) == (False, "Error: 'pay' was denied; it was not run")
        assert [(each.kind, each.tool, each.agent_name) for each in seen] == [("tool", "pay", "Ada")] * 2

    run(main)


def test_a_rule_that_fails_lets_nothing_run(run: Run) -> None:
    calls: list[int] = []

    @tool(approval=lambda arguments: arguments["missing"])
    def pay(a: int) -> None:
        calls.append(a)

    async def main() -> None:
        record = await Life([pay]).call(asked("pay", a=1))
        assert record.error == "whether 'pay' needs an approval could not be told (KeyError: 'missing'); it was not run"
        assert calls == []

    run(main)
