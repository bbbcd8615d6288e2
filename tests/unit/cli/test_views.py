"""What the views make of the events of a run, without a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shoal.cli.plainview import PlainView
from shoal.cli.runview import RunView
from shoal.cli.views import Follower
from shoal.kernel.run import RunEvent

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Teller:
    """Tells events, one a second."""

    def __init__(self, *takers: Any) -> None:
        self.offset = 0
        self._takers = takers

    def __call__(self, type_: str, path: str = "", agent: str = "", /, **data: Any) -> RunEvent:
        self.offset += 1
        at = BEGAN + timedelta(seconds=self.offset)
        event = RunEvent(offset=self.offset, run_id="r", path=path, type=type_, agent_name=agent, data=data, at=at)
        for taker in self._takers:
            taker.take(event)
        return event


def shown() -> tuple[RunView, Teller]:
    view = RunView("r")
    tell = Teller(view)
    tell("run_started", pattern="Pipeline", budget={"max_cost": 0.5})
    return view, tell


def test_costs_tokens_and_times_add_up_by_agent() -> None:
    view, tell = shown()
    for number in range(3):
        tell("step_started", f"{number}:A/model1", "A", kind="model")
        tell("step_finished", f"{number}:A/model1", "A", kind="model", cost=0.1, tokens=7)
    tell("step_started", "3:B/model1", "B", kind="model")
    tell("step_failed", "3:B/model1", "B", kind="model", cost=0.05, error="ModelError: no")
    line = view.agents["A"]
    assert (line.cost, line.tokens, line.state, line.seconds) == (0.3, 21, "done", 3.0)  # 0.1 three times, exactly
    assert (view.agents["B"].state, view.cost, view.max_cost) == ("failed", 0.35, 0.5)
    assert list(view.messages) == ["B: failed: ModelError: no"]
    tell("run_finished", status="failed", stopped=None, cost=0.35)
    assert (view.status, view.over, view.cost) == ("failed", True, 0.35)
    assert view.elapsed(BEGAN + timedelta(days=1)) == 9.0, "its time stands when it is over"


def test_time_goes_on_while_an_agent_is_at_work() -> None:
    view, tell = shown()
    tell("step_started", "0:A/model1", "A", kind="model")
    assert view.agents["A"].busy_seconds(BEGAN + timedelta(seconds=12)) == 10.0
    assert view.elapsed(BEGAN + timedelta(seconds=12)) == 11.0


def test_what_a_pattern_does_itself_is_no_line() -> None:
    view, tell = shown()
    tell("step_started", "s1/w1:to", "Orchestrator", kind="assign")
    tell("step_finished", "s1/w1:to", "Orchestrator", kind="assign")
    assert view.agents == {}
    tell("step_started", "s1/w1:D/model1", "D", kind="model")
    tell("step_started", "s1/w1:D/tool1", "D", kind="tool")
    assert view.agents["D"].state == "tool"


def test_one_text_at_a_time_is_streamed() -> None:
    view, tell = shown()
    for name in "AB":
        tell("step_started", f"{name}/model1", name, kind="model")
    tell("text", "B/model1", "B", text="from ")
    tell("text", "A/model1", "A", text="hello")
    tell("text", "B/model1", "B", text="B")
    streamed = [view.streaming]
    tell("step_finished", "B/model1", "B", kind="model")
    streamed.append(view.streaming)
    assert list(view.messages) == ["B: from B"]
    tell("step_finished", "A/model1", "A", kind="model")
    assert [*streamed, view.streaming] == [("B", "from B"), ("A", "hello"), None]
    tell("message", "", "A", content="hello")
    assert list(view.messages) == ["B: from B", "A: hello"], "it is not said twice"


def test_another_life_of_it_begins_with_nobody_at_work() -> None:
    view, tell = shown()
    tell("step_started", "0:A/model1", "A", kind="model")
    tell("text", "0:A/model1", "A", text="half a")
    tell("approval_asked", "0:B/tool1", "B", id="q", kind="tool", tool="drop")
    assert (view.status, view.questions) == ("waiting", {"q": "B tool drop"})
    tell("run_started", pattern="Pipeline")
    assert (view.status, view.questions, view.streaming) == ("running", {}, None)
    assert view.agents["A"].state == "interrupted" and not view.agents["A"].busy
    assert view.max_cost == 0.5, "the budget is still the same"
    tell("run_finished", status="interrupted", stopped="budget", cost=0.0)
    tell("run_started", pattern="Pipeline", budget={"max_cost": 2.0})
    assert (view.max_cost, view.stopped) == (2.0, None)


def test_questions_handoffs_plans_and_the_trace_are_lines() -> None:
    view, tell = shown()
    tell("approval_asked", "0:A/tool1", "A", id="q", kind="tool", tool="drop")
    tell("approval_given", "0:A/tool1", "A", id="q", decision="denied", by="ada")
    tell("handoff", "", "A", to="B", message="go on", reason="")
    tell("plan", "", "P", plan=[{"worker_name": "W", "task": "dig"}])
    tell("budget_warning", "", share=0.83, mark=0.8)
    tell(
        "work_assigned",
        "s1",
        "D",
        sender="Orchestrator",
        receiver="Developer",
        instance="D",
        task="Implement",
        key="k1",
    )
    tell("health_check", "s1", "D", sender="Orchestrator", receiver="", output=["healthy"], key="k2")
    tell("something_new", "", "", key="k3")
    tell("something_else", "", "", other=1)
    assert list(view.messages) == [
        "A: denied by ada", "A → B: go on", "P: plan: W", "83% of the budget is used",
        "Orchestrator → Developer: Implement", "Orchestrator: health check: healthy",
        "something new: something new",
    ]  # fmt: skip
    assert (view.agents["W"].work, view.agents["D"].work, view.status) == ("dig", "Implement", "running")


def test_control_characters_and_line_ends_stay_in_their_line() -> None:
    view, tell = shown()
    tell("message", "", "A\x1b", content="one\ntwo\x1b[2J")
    assert list(view.messages) == ["A\\x1b: one two\\x1b[2J"]


def test_lines_of_text_are_gathered_and_everything_else_is_a_line() -> None:
    lines: list[str] = []
    plain = PlainView(lines.append)
    tell = Teller(plain)
    tell("run_started", pattern="P")
    for piece in ("one ", "line\ntwo", " li"):
        tell("text", "0:A/model1", "A", text=piece)
    tell("text", "1:B/model1", "B", text="x" * 450)
    assert [line.split("  ")[0] for line in lines] == ["1", "2", "5", "5"] and lines[1].endswith("A  one line")
    tell("step_finished", "0:A/model1", "A", kind="model")
    assert lines[4].endswith("A  two li") and "step_finished" in lines[5]
    plain.flush()
    assert lines[6].endswith("B  " + "x" * 50) and len(lines) == 7
    plain.flush()
    assert len(lines) == 7


def test_a_line_of_a_trace_says_nothing_twice() -> None:
    lines: list[str] = []
    tell = Teller(PlainView(lines.append))
    data = {"key": "s1:w1:given", "seq": 2, "at": "2026-01-31T12:00:00Z", "kind": "work_assigned", "task": "Dig"}
    tell("work_assigned", "s1", "D", **data)
    tell("step_started", "s1/w1:D/model1", "D", kind="model", model="echo")
    assert lines[0].endswith('  work_assigned  s1  D  {"task":"Dig"}')
    assert lines[1].endswith('{"kind":"model","model":"echo"}')


def test_whoever_cannot_take_an_event_does_not_hinder_the_others(run: Any) -> None:
    taken: list[int] = []

    def broken(event: RunEvent) -> None:
        if event.offset == 2:
            raise BrokenPipeError("nobody reads")

    async def events() -> Any:
        tell = Teller()
        for _ in range(3):
            yield tell("text", "p", "A", text="x")

    follower = Follower(broken, lambda event: taken.append(event.offset))
    run(lambda: follower.follow(events()))
    assert taken == [1, 2, 3] and [str(error) for error in follower.errors] == ["nobody reads"]


@pytest.mark.parametrize("cost", [0, None, "0.5"])
def test_odd_numbers_do_not_stop_it(cost: Any) -> None:
    view, tell = shown()
    tell("step_finished", "0:A/model1", "A", kind="model", cost=cost)
    assert view.agents["A"].cost in (0.0, 0.5)
