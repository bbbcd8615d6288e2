"""``call``: in a pattern of one's own, outside of any run; whatever the agent does, and whatever it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.kernel.budget import Budget
from shoal.kernel.run import Approval
from shoal.kernel.scope import current_scope
from shoal.kernel.usage import Usage
from shoal.orchestration import AgentResult, Handoff, ParallelAgents, Pipeline, call
from shoal.testing.clock import VirtualClock
from tests.support.replay import Lives, check_every_death
from tests.support.speakers import Calls, Said, Speaker, virtual


class Panel:
    """A pattern of one's own: whoever is asked first decides how many others are."""

    journaled = True

    def __init__(self, calls: Calls, cost: float | None = 1.0) -> None:
        self.name = "Panel"
        self._chair = Speaker("Chair", "2", calls, seconds=1, cost=cost)
        self._others = [Speaker(f"m{n}", None, calls, seconds=1, cost=cost) for n in range(3)]

    async def chat(self, message: str) -> str:
        """Ask the chair, then as many members as it says."""
        number = int((await call(self._chair, "how many?", key="chair")).content)
        answers = await asyncio.gather(
            *(call(member, message, key=f"member{n}", timeout=9) for n, member in enumerate(self._others[:number]))
        )
        return " ".join(answer.content for answer in answers)


class Unmarked(Panel):
    """The same by somebody who does not know of steps."""

    journaled = False


def test_outside_of_a_run_it_is_one_call() -> None:
    async def main(clock: VirtualClock) -> None:
        said = await call(Speaker("A", Said("hello", cost=0.5)), "hi", key="greeting")
        assert (said.agent_name, said.content, said.cost, said.success) == ("A", "hello", 0.5, True)
        late = await call(Speaker("A", seconds=9), "hi", key="greeting", timeout=2)
        assert (late.error, clock.monotonic(), str(late)) == ("Timeout", 2.0, "[A] ERROR: Timeout")
        failed = await call(Speaker("A", ValueError("no")), "hi", key="greeting")
        assert (failed.error, failed.error_type) == ("no", "ValueError")
        nested = await call(Pipeline([Speaker("A"), Speaker("B")]), "hi", key="line")
        assert nested.content == "B(A(hi))" and nested.output["steps"][0]["agent_name"] == "A"

        async def whispers(message: str) -> str:
            return message.lower()

        assert (await call(whispers, "HI", key="x")).content == "hi"

    virtual(main)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"message": ""}, ValueError, "message is empty"),
        ({"message": 3}, TypeError, "message must be a str, not int"),
        ({"key": ""}, ValueError, "key must be text that names the place of the call, not ''"),
        ({"timeout": 0}, ValueError, "timeout=0: it must be seconds above 0, or None"),
        ({"agent": None}, TypeError, "agent (NoneType) has no async chat(message)"),
    ],
)
@pytest.mark.spec("O50")
def test_bad_calls_are_refused(given: dict[str, Any], kind: type[Exception], text: str) -> None:
    options: dict[str, Any] = {"agent": Speaker("A"), "message": "x", "key": "k", **given}
    with pytest.raises(kind) as caught:
        virtual(lambda clock: call(options.pop("agent"), options.pop("message"), **options))
    assert str(caught.value) == text


def test_a_key_is_used_once_at_a_place() -> None:
    class Careless:
        name = "Careless"
        journaled = True

        async def chat(self, message: str) -> str:
            await call(Speaker("A"), "x", key="same")
            return (await call(Speaker("A"), "y", key="same")).content

    result = virtual(lambda clock: ParallelAgents([Careless(), Speaker("B")]).chat("x"))
    assert result.failed[0].error == "key 'same' was used here already: each call needs a key of its own"


@pytest.mark.parametrize("kind", [Panel, Unmarked])
def test_a_pattern_of_ones_own_has_places_costs_and_budgets(kind: type[Panel]) -> None:
    calls = Calls()
    whole = Pipeline([kind(calls), Speaker("End", None, calls, cost=1.0)])
    result = virtual(lambda clock: whole.run("x"))
    assert calls.places() == ["0:Panel/chair", "0:Panel/member0", "0:Panel/member1", "1:End"]
    assert result.content == "End(m0(x) m1(x))"
    assert (result.total_cost, result.usage.calls, result.usage.unpriced_calls) == (4.0, 4, 0)
    if kind is Panel:
        for allowed in range(5):
            calls = Calls()
            line = Pipeline([kind(calls), Speaker("End", None, calls)])
            result = virtual(lambda clock, line=line, most=allowed: line.run("x", budget=Budget(max_calls=most)))  # type: ignore[misc]
            assert (len(calls), result.stopped) == (allowed, "budget" if allowed < 4 else None)


@pytest.mark.parametrize("kind", [Panel, Unmarked])
def test_a_pattern_of_ones_own_dies_anywhere_and_goes_on(kind: type[Panel]) -> None:
    assert check_every_death(lambda calls: Pipeline([kind(calls), Speaker("End", None, calls)]), "x") >= 12


def test_what_came_of_a_refused_budget_is_asked_again_with_a_larger_one() -> None:
    """A function that makes the best of a refusal must not have that recorded as its answer."""

    class Patient:
        name = "Patient"

        def __init__(self, calls: Calls) -> None:
            self._inner = Pipeline([Speaker("p", None, calls), Speaker("q", None, calls)], name="Inner")

        async def chat(self, message: str) -> str:
            result = await self._inner.chat(message)
            return result.content or "nothing"

    lives = Lives(
        lambda calls: Pipeline([Patient(calls), Speaker("End", None, calls)]), "x", budget=Budget(max_calls=1)
    )
    first = lives.live().result
    assert first.stopped == "budget" and "0:Patient/chat" not in lives.steps
    lives.budget = Budget(max_calls=3)  # enough only if nothing of the first life is lost
    last = lives.live().result
    assert (last.stopped, last.content) == (None, "End(q(p(x)))")
    assert lives.calls.places(life=2) == ["0:Patient/1:q", "1:End"]


def test_a_handoff_is_in_the_result_of_any_agent() -> None:
    async def main(clock: VirtualClock) -> None:
        said = await call(Speaker("A", Handoff("B", "go on", "tired")), "x", key="a")
        assert (said.content, said.handoff) == ("go on", Handoff("B", "go on", "tired"))
        said = await call(Speaker("A", Said("mine", handoff=Handoff("B"))), "x", key="a")
        assert (said.content, said.handoff) == ("mine", Handoff("B"))
        said = await call(Speaker("A", Said("mine", handoff="B")), "x", key="a")
        assert said.handoff is None

    virtual(main)


@pytest.mark.parametrize("cost", [None, "1", True, float("nan"), float("inf"), -1.0])
def test_a_cost_that_is_none_is_unpriced(cost: Any) -> None:
    said: AgentResult = virtual(lambda clock: call(Speaker("A", Said("x", cost=cost)), "x", key="a"))
    assert said.success and said.usage == Usage(calls=1, unpriced_calls=1)


def test_texts_that_no_store_can_hold_are_mended() -> None:
    said: AgentResult = virtual(lambda clock: call(Speaker("A", "a\ud800b"), "x", key="a"))
    assert said.content == "a?b"


def test_an_agents_own_time_out_is_its_own_error() -> None:
    said: AgentResult = virtual(
        lambda clock: call(Speaker("A", TimeoutError("the door is shut")), "x", key="a", timeout=9)
    )
    assert (said.error, said.error_type) == ("the door is shut", "TimeoutError")
    said = virtual(lambda clock: call(Speaker("A", TimeoutError()), "x", key="a"))
    assert said.error == "TimeoutError"


def test_names_with_slashes_keep_to_their_place() -> None:
    calls = Calls()
    line = Pipeline([Speaker("a/b", None, calls)], name="x/y")
    virtual(lambda clock: Pipeline([line]).run("x"))
    assert calls.places() == ["0:x%2Fy/0:a%2Fb"]


class Asking:
    """Asks a person, who takes his time, and then works."""

    journaled = True

    def __init__(self, name: str, clock: VirtualClock, *, waits: float, works: float) -> None:
        self.name = name
        self._clock = clock
        self._waits = waits
        self._works = works

    async def chat(self, message: str) -> str:
        """Ask, then work."""
        scope = current_scope.get()
        assert scope is not None

        async def decide(question: Approval) -> bool:
            await self._clock.sleep(self._waits)
            return True

        asked = await scope.run.asking.approval(scope.key("tool1:pay"), "tool", decide=decide)
        await self._clock.sleep(self._works)
        return str(asked.decision)


@pytest.mark.parametrize("pattern", [Pipeline, ParallelAgents])
def test_the_time_that_people_take_is_not_the_agents(pattern: type[Any]) -> None:
    async def main(clock: VirtualClock) -> None:
        field = "step_timeout" if pattern is Pipeline else "timeout"
        patient = pattern([Asking("A", clock, waits=3600, works=4)], **{field: 5})
        result = await patient.run("x")
        assert result.success and "approved" in result.content
        assert clock.monotonic() == 3604
        result = await patient.run("x", budget=Budget(max_seconds=5))
        assert result.success and clock.monotonic() == 7208
        late = await pattern([Asking("A", clock, waits=3600, works=6)], **{field: 5}).run("x")
        assert late.error is not None and late.error.endswith("Timeout")
        assert clock.monotonic() == 10813
        spent = await patient.run("x", budget=Budget(max_seconds=3))
        assert (spent.stopped, clock.monotonic()) == ("budget", 14416)

    virtual(main)


def test_who_does_not_wait_for_people_has_his_own_time() -> None:
    async def main(clock: VirtualClock) -> None:
        agents = [Asking("A", clock, waits=100, works=1), Speaker("slow", seconds=50)]
        line = [Pipeline([agent], step_timeout=5, name=f"line {n}") for n, agent in enumerate(agents)]
        result = await ParallelAgents(line).chat("x")
        assert [said.error for said in result.results] == [None, "Timeout"]
        assert result.results[1].duration_ms == 5000
        overlapping = [Asking(name, clock, waits=100, works=1) for name in "AB"]
        began = clock.monotonic()
        done = await ParallelAgents(overlapping).run("x", budget=Budget(max_seconds=2))
        assert done.all_success and clock.monotonic() - began == 101
        longer = [Asking(name, clock, waits=100, works=3) for name in "AB"]
        assert (await ParallelAgents(longer).run("x", budget=Budget(max_seconds=2))).stopped == "budget"

    virtual(main)
