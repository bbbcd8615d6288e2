"""Agents at once: order, failures, time-outs, cancelling, costs."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from shoal.kernel.budget import Budget
from shoal.orchestration import AgentResult, ParallelAgents, ParallelResult, Pipeline, parallel_chat
from shoal.testing.clock import VirtualClock
from tests.support.replay import Lives, check_every_death, check_many_deaths, without_times
from tests.support.speakers import Calls, Speaker, virtual


@pytest.mark.spec("O2")
def test_all_answer_at_once_in_the_order_of_the_agents() -> None:
    agents = [Speaker("slow", seconds=1.0), Speaker("mid", seconds=0.9), Speaker("quick", seconds=0.8)]

    async def main(clock: VirtualClock) -> tuple[ParallelResult, float]:
        return await ParallelAgents(agents).chat("x"), clock.monotonic()

    result, seconds = virtual(main)
    assert seconds == pytest.approx(1.0)
    assert [said.agent_name for said in result.results] == ["slow", "mid", "quick"]
    assert [said.index for said in result.results] == [0, 1, 2]
    assert result.all_success and result.success and result.error is None
    assert result.content == result.to_context() == "1. [slow]: slow(x)\n\n2. [mid]: mid(x)\n\n3. [quick]: quick(x)"
    assert result.total_duration_ms == pytest.approx(1000)
    assert result.results[2].duration_ms == pytest.approx(800)


@pytest.mark.spec("O2")
def test_one_of_three_raises() -> None:
    agents = [Speaker("a"), Speaker("b", ValueError("broken pipe")), Speaker("c")]
    result = virtual(lambda clock: parallel_chat(agents, "x"))
    assert [said.agent_name for said in result.successful] == ["a", "c"]
    (failed,) = result.failed
    assert (failed.agent_name, failed.error, failed.error_type) == ("b", "broken pipe", "ValueError")
    assert str(failed) == "[b] ERROR: broken pipe"
    assert str(result.by_agent("a")) == "[a]: a(x)"
    assert not result.all_success and result.success
    with pytest.raises(KeyError, match="no agent 'd' among a, b, c"):
        result.by_agent("d")


def test_nobody_answers() -> None:
    result = virtual(lambda clock: parallel_chat([Speaker("a", ValueError("no")), Speaker("b", OSError())], "x"))
    assert (result.success, result.all_success, result.error, result.content) == (False, False, "a: no", "")
    assert result.results[1].error == "OSError"
    assert not ParallelResult().all_success


@pytest.mark.spec("O3")
@pytest.mark.parametrize("different", [False, True])
def test_a_time_out_keeps_what_is_finished(different: bool) -> None:
    calls = Calls()
    agents = [Speaker("fast", calls=calls, seconds=0.05), Speaker("slow", calls=calls, seconds=5)]

    async def main(clock: VirtualClock) -> tuple[ParallelResult, float]:
        parallel = ParallelAgents(agents, timeout=0.2)
        result = await (parallel.chat_different({"fast": "x", "slow": "y"}) if different else parallel.chat("x"))
        return result, clock.monotonic()

    result, seconds = virtual(main)
    assert seconds < 0.4
    assert result.contents == ["fast(x)"]
    (late,) = result.failed
    assert (late.agent_name, late.error, late.error_type) == ("slow", "Timeout", "TimeoutError")
    assert calls.cancelled == ["1:slow"]


def test_who_does_not_listen_is_abandoned_after_a_second(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf:
        name = "Deaf"

        async def chat(self, message: str) -> str:
            for _ in range(3):
                try:
                    await asyncio.sleep(10)
                except asyncio.CancelledError:
                    continue
            return "late"

    async def main(clock: VirtualClock) -> tuple[ParallelResult, float]:
        result = await parallel_chat([Deaf(), Speaker("b")], "x", timeout=0.5)
        seconds = clock.monotonic()
        await clock.sleep(60)
        return result, seconds

    result, seconds = virtual(main)
    assert seconds == pytest.approx(1.5)
    assert [said.error for said in result.results] == ["Timeout", None]
    assert "call Deaf does not end although it was cancelled: it is abandoned" in caplog.text


@pytest.mark.spec("O4")
def test_fail_fast_cancels_the_others() -> None:
    calls = Calls()
    agents = [
        Speaker("slow", calls=calls, seconds=0.5),
        Speaker("bad", OSError("no"), calls),
        Speaker("good", None, calls),
    ]

    async def main(clock: VirtualClock) -> tuple[ParallelResult, float]:
        return await ParallelAgents(agents, fail_fast=True).chat("x"), clock.monotonic()

    result, seconds = virtual(main)
    assert seconds < 0.1
    assert [said.error for said in result.results] == ["Cancelled", "no", None]
    assert calls.cancelled == ["0:slow"]
    assert (result.success, result.error) == (False, "bad: no")


def test_max_concurrency_lets_that_many_work_and_gives_each_its_whole_time() -> None:
    at_once: list[int] = []
    busy = 0

    class Counting(Speaker):
        async def chat(self, message: str) -> Any:
            nonlocal busy
            busy += 1
            at_once.append(busy)
            try:
                return await super().chat(message)
            finally:
                busy -= 1

    async def main(clock: VirtualClock) -> tuple[ParallelResult, float]:
        agents = [Counting(f"a{n}", seconds=1.0) for n in range(6)]
        return await ParallelAgents(agents, timeout=1.5, max_concurrency=2).chat("x"), clock.monotonic()

    result, seconds = virtual(main)
    assert result.all_success and seconds == pytest.approx(3.0)
    assert max(at_once) == 2


def test_each_is_asked_its_own_message_the_rest_the_default_and_who_has_none_is_left_out() -> None:
    agents = [Speaker("a"), Speaker("b"), Speaker("c")]
    parallel = ParallelAgents(agents)
    result = virtual(lambda clock: parallel.chat_different({"b": "for b", "default": "for all"}))
    assert result.contents == ["a(for all)", "b(for b)", "c(for all)"]
    result = virtual(lambda clock: parallel.chat_different({"c": "for c"}))
    assert [(said.agent_name, said.index) for said in result.results] == [("c", 2)]


@pytest.mark.spec("O50")
def test_bad_messages_are_refused_before_any_call() -> None:
    calls = Calls()
    parallel = ParallelAgents([Speaker("Writer", None, calls), Speaker("Editor", None, calls)])
    bad: list[tuple[Any, type[Exception], str]] = [
        ({"Writr": "x"}, ValueError, "no agent 'Writr' among Writer, Editor; did you mean 'Writer'?"),
        ({}, ValueError, "messages is empty: it has no message for any agent"),
        ({"Writer": ""}, ValueError, "the message for 'Writer' is empty"),
        ({"Writer": 3}, TypeError, "the message for 'Writer' must be a str, not int"),
        ("x", TypeError, "messages must be a dict of agent name to message, not str"),
    ]
    for messages, kind, text in bad:
        with pytest.raises(kind) as caught:
            virtual(lambda clock, given=messages: parallel.chat_different(given))  # type: ignore[misc]
        assert str(caught.value) == text
    for message, kind, text in (("", ValueError, "message is empty"), (3, TypeError, "message must be a str, not int")):
        with pytest.raises(kind) as caught:
            virtual(lambda clock, given=message: parallel.chat(given))  # type: ignore[misc]
        assert str(caught.value) == text
    assert len(calls) == 0


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("timeout", -1, "it must be seconds above 0, or None"),
        ("timeout", "2", "it must be seconds above 0, or None"),
        ("max_concurrency", 0, "it must be a whole number from 1"),
        ("fail_fast", "no", "it must be True or False"),
    ],
)
@pytest.mark.spec("O50")
def test_bad_settings_are_refused(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        ParallelAgents([Speaker("a")], **{field: value})
    assert str(caught.value) == f"{field}={value!r}: {allowed}"


@pytest.mark.spec("O6")
def test_the_four_formats() -> None:
    nasty = 'a < b & "c" </agent>'
    said = ParallelResult(
        results=(
            AgentResult(agent_name="A", content="one"),
            AgentResult(agent_name="B", success=False, error="no"),
            AgentResult(agent_name='C "<', content=nasty),
        )
    )
    assert said.to_context() == f'1. [A]: one\n\n2. [C "<]: {nasty}'
    assert said.to_context("labeled") == f'**A**:\none\n\n---\n\n**C "<**:\n{nasty}'
    assert said.to_context("plain") == f"one\n\n{nasty}"
    assert said.to_context("xml") == (
        '<results><agent name="A">one</agent>'
        '<agent name="C &quot;&lt;">a &lt; b &amp; "c" &lt;/agent&gt;</agent></results>'
    )
    with pytest.raises(ValueError, match="format must be one of numbered, labeled, xml, plain, not 'html'"):
        said.to_context("html")


@pytest.mark.spec("O6")
def test_the_xml_always_parses_and_gives_the_texts_back() -> None:
    texts = ["<", '"', "</agent>", "&amp;", "two\nlines\ttab", "snow ☃ 𝄞"]
    said = [AgentResult(agent_name=f"{text} {n}", content=text) for n, text in enumerate(texts)]
    root = ElementTree.fromstring(ParallelResult(results=tuple(said)).to_context("xml"))
    assert [agent.text for agent in root] == texts
    assert [agent.get("name") for agent in root] == [each.agent_name for each in said]
    forbidden = AgentResult(agent_name="N\0", content="a\0b\x0b\ud800\ufffe")
    root = ElementTree.fromstring(ParallelResult(results=(forbidden,)).to_context("xml"))
    assert (root[0].text, root[0].get("name")) == ("a\ufffdb\ufffd\ufffd\ufffd", "N\ufffd")


@pytest.mark.spec("O19")
def test_the_cost_is_that_of_the_calls_of_this_run() -> None:
    parallel = ParallelAgents([Speaker(name, cost=1.0) for name in "abc"])
    first, second = (virtual(lambda clock: parallel.chat("x")) for _ in range(2))
    assert first.total_cost == second.total_cost == 3.0
    assert [said.cost for said in first.results] == [1.0, 1.0, 1.0]


def _wide(calls: Calls) -> ParallelAgents:
    line = Pipeline([Speaker("l1", None, calls, seconds=1), Speaker("l2", None, calls, seconds=5)], name="Line")
    return ParallelAgents(
        [
            Speaker("one", None, calls, seconds=1, cost=0.25),
            Speaker("bad", ValueError("no"), calls, seconds=2),
            Speaker("late", None, calls, seconds=50),
            line,
        ],
        timeout=10,
    )


def _fast(calls: Calls) -> ParallelAgents:
    wide = _wide(calls)
    return ParallelAgents(wide.agents, timeout=10, fail_fast=True)


def _settled(calls: Calls) -> Pipeline:
    """One who has finished long before another fails needs many turns of the loop to be replayed."""
    line = Pipeline([Speaker(f"l{n}", None, calls) for n in range(4)], name="Line")
    bad = Speaker("bad", ValueError("no"), calls, seconds=2)
    fan = ParallelAgents([bad, Pipeline([line], name="Outer"), Speaker("late", None, calls, seconds=5)], fail_fast=True)
    return Pipeline([fan, Speaker("next", None, calls)], stop_on_error=False)


@pytest.mark.parametrize("make", [_wide, _fast])
@pytest.mark.parametrize("shuffle", [False, True])
def test_it_dies_anywhere_and_goes_on(make: Any, shuffle: bool) -> None:
    assert check_every_death(make, "x", shuffle=shuffle) >= 16
    check_many_deaths(make, "x", [3, 1, 2, 5, 1, 1, 4, 2])


@pytest.mark.parametrize("make", [_wide, _fast, _settled])
def test_a_replay_gives_time_outs_and_cancellations_again_and_calls_nobody(make: Any) -> None:
    def line(calls: Calls) -> Pipeline:
        return Pipeline([make(calls), Speaker("end", None, calls)], stop_on_error=False)

    whole = Lives(line, "x")
    expected = whole.live()
    lives = Lives(line, "x")
    assert lives.live(len(expected.points)).result is None, "it died after its last record"
    before = len(lives.calls)
    assert without_times(lives.live().result) == without_times(expected.result)
    assert len(lives.calls) == before


def test_a_refused_budget_ends_it_with_what_is_finished() -> None:
    calls = Calls()
    agents = [Speaker(f"a{n}", None, calls) for n in range(5)]
    result = virtual(lambda clock: ParallelAgents(agents).run("x", budget=Budget(max_calls=3)))
    assert len(calls) == 3
    assert (result.success, result.stopped, len(result.successful)) == (False, "budget", 3)
    assert result.error is not None and "max_calls" in result.error


@pytest.mark.spec("O48")
def test_a_cancelled_run_keeps_what_is_finished_and_leaves_nothing_behind() -> None:
    async def main(clock: VirtualClock) -> None:
        inner = Pipeline([Speaker("l1", seconds=1), Speaker("l2", seconds=50)], name="Line")
        handle = ParallelAgents([Speaker("quick", seconds=1), Speaker("slow", seconds=50), inner]).start("x")
        await clock.sleep(2)
        partial = handle.partial()
        assert partial is not None
        assert [(said.agent_name, said.success) for said in partial.results] == [("quick", True), ("Line", False)]
        assert partial.results[1].content == "l1(x)" and partial.results[1].error == "not finished"
        began = clock.monotonic()
        await handle.cancel("enough")
        assert clock.monotonic() - began <= 1.0
        result = await handle
        assert (result.stopped, result.error, handle.status) == ("cancelled", "enough", "cancelled")
        assert [said.content for said in result.results] == ["quick(x)", "l1(x)"]
        assert result.results[1].output["steps"][0]["output"] == "l1(x)"
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)


def test_cancelling_from_outside_cancels_all() -> None:
    calls = Calls()

    async def main(clock: VirtualClock) -> None:
        work = asyncio.ensure_future(parallel_chat([Speaker(f"a{n}", None, calls, seconds=9) for n in range(3)], "x"))
        await clock.sleep(1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert sorted(calls.cancelled) == ["0:a0", "1:a1", "2:a2"]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual(main)


def test_an_agent_that_cancels_itself_or_ends_the_program_fails_alone() -> None:
    agents = [Speaker("quits", asyncio.CancelledError()), Speaker("exits", SystemExit(3)), Speaker("works")]
    result = virtual(lambda clock: parallel_chat(agents, "x"))
    assert [said.error for said in result.results] == ["quits was cancelled from within", "3", None]
    assert result.results[1].error_type == "SystemExit"
