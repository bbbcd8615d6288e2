"""A debate: its rounds, its times, its end, who takes part."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.orchestration import Debate, Pipeline
from shoal.testing.clock import VirtualClock
from tests.support.debaters import Panel, ballot
from tests.support.speakers import Speaker, virtual


@pytest.mark.spec("O15")
def test_three_agents_and_three_rounds() -> None:
    panel = Panel(rounds=3)
    result = panel.run()
    assert (result.content, result.conclusion) == ("the conclusion", "the conclusion")
    assert (result.success, result.error, result.stopped) == (True, None, None)
    assert (len(result.messages), result.rounds_completed) == (12, 3)
    assert list(result.by_round) == [0, 1, 2, 3] and all(len(said) == 3 for said in result.by_round.values())
    assert {name: len(said) for name, said in result.by_agent.items()} == {"A": 4, "B": 4, "C": 4}
    transcript = result.to_transcript()
    for message in result.messages:
        assert f"**{message.agent_name}**: {message.content}" in transcript
    assert transcript.startswith("## Round 0\n\n**A**: A speaks in round 0.\n\n**B**: B speaks")
    assert transcript.endswith("\n\n## Conclusion\n\nthe conclusion")
    assert [line for line in transcript.splitlines() if line.startswith("##")] == [
        "## Round 0", "## Round 1", "## Round 2", "## Round 3", "## Conclusion",
    ]  # fmt: skip
    places = [f"r{number}/{place}" for number in range(4) for place in ("0:A", "1:B", "2:C")]
    assert panel.calls.places() == [*places, "conclusion"]


def test_a_message_has_its_ballot_in_fields_and_tells_whom_it_answers() -> None:
    result = Panel({"A": ballot("Yes.", "go", "B", 90), "B": "No ballot."}, rounds=1).run()
    first, second, reply, _ = result.messages
    assert (first.content, first.position, first.agrees_with, first.confidence) == ("Yes.", "go", ("B",), 90)
    assert (second.content, second.position, second.agrees_with, second.confidence) == ("No ballot.", "", (), None)
    assert (first.is_response_to, reply.is_response_to, reply.round) == ((), ("B",), 1)


def test_no_rounds_of_replies() -> None:
    panel = Panel({"A": ballot(agrees="B"), "B": ballot(agrees="A")}, rounds=0)
    result = panel.run()
    assert (result.rounds_completed, len(result.messages), result.success) == (0, 2, True)
    assert not result.consensus_reached, "it is looked for after rounds of replies"


def test_one_after_another_each_sees_those_before_it() -> None:
    panel = Panel(parallel_responses=False, rounds=1, seconds={"A": 1, "B": 1, "C": 1})
    result = panel.run()
    assert result.total_duration_ms == 6000
    assert "B speaks in round 0." in panel.said_to("r1/0:A") and "round 1" not in panel.said_to("r1/0:A")
    assert "A speaks in round 1." in panel.said_to("r1/1:B") and "C speaks in round 0." in panel.said_to("r1/1:B")
    assert "B speaks in round 1." in panel.said_to("r1/2:C")
    assert all("speaks" not in panel.said_to(f"r0/{place}") for place in ("0:A", "1:B", "2:C"))
    assert Panel(rounds=1, seconds={"A": 1, "B": 1, "C": 1}).run().total_duration_ms == 2000, "else all at once"


# -- times and failures


@pytest.mark.spec("O3")
def test_a_round_that_is_over_keeps_who_was_in_time() -> None:
    panel = Panel(seconds={"A": 0.05, "B": 5.0, "C": 0.05}, round_timeout=0.2, rounds=0)
    result = panel.run()
    assert [(said.agent_name, said.success, said.error) for said in result.messages] == [
        ("A", True, None), ("B", False, "Timeout"), ("C", True, None),
    ]  # fmt: skip
    assert result.messages[1].content == "[Timeout]"
    assert panel.calls.cancelled == ["r0/1:B"]
    assert (result.total_duration_ms, result.success) == (200, True)


@pytest.mark.spec("O3")
@pytest.mark.parametrize("parallel", [True, False])
def test_a_round_with_under_two_answers_is_the_end(parallel: bool) -> None:
    panel = Panel({"A": None, "B": None}, seconds={"A": 0.05, "B": 5.0}, round_timeout=0.2, parallel_responses=parallel)
    result = panel.run()
    assert [(said.success, said.error) for said in result.messages] == [(True, None), (False, "Timeout")]
    assert panel.calls.cancelled == ["r0/1:B"]
    assert result.total_duration_ms == 200
    assert (result.success, result.stopped, result.content) == (False, "timeout", "")
    assert result.error == "round 0 had 1 answer, a debate needs 2 (B: Timeout)"
    assert result.rounds_completed == 0 and "conclusion" not in panel.calls.places()


def test_one_after_another_they_share_what_is_left_of_the_round() -> None:
    panel = Panel(seconds={"A": 1.0, "B": 9.0, "C": 4.4}, round_timeout=10, parallel_responses=False, rounds=0)
    result = panel.run()
    assert [round(said.duration_ms) for said in result.messages] == [1000, 4500, 4400]
    assert [said.error for said in result.messages] == [None, "Timeout", None]


def test_failures_are_messages_and_it_goes_on() -> None:
    panel = Panel({"A": ["first", ValueError("no")], "B": "b", "C": "c"}, rounds=2)
    result = panel.run()
    failed = result.by_round[1][0]
    assert (failed.content, failed.success, failed.error) == ("[Error: no]", False, "no")
    assert (len(result.messages), result.success) == (9, True)
    assert "[Error: no]" in panel.said_to("r2/1:B")
    assert "Your last position:" in panel.said_to("r2/0:A") and "\nfirst\n" in panel.said_to("r2/0:A")


def test_too_many_failures_name_who_and_why() -> None:
    result = Panel({"A": ["a", OSError("x")], "B": ["b", OSError("y")], "C": "c"}, rounds=2).run()
    assert (result.success, result.stopped, result.rounds_completed) == (False, "error", 0)
    assert result.error == "round 1 had 1 answer, a debate needs 2 (A: x; B: y)"
    assert len(result.messages) == 6


@pytest.mark.parametrize(("takes", "error", "stopped"), [(0.0, "no", "error"), (99.0, "Timeout", "timeout")])
def test_a_moderator_that_fails(takes: float, error: str, stopped: str) -> None:
    result = Panel(moderator=ValueError("no"), seconds={"Moderator": takes}, round_timeout=5).run()
    assert (result.success, result.stopped, result.content) == (False, stopped, "")
    assert result.error == f"the moderator did not conclude: {error}"
    assert (len(result.messages), result.rounds_completed) == (9, 2), "what was said is kept"


def test_a_pattern_that_is_a_speaker_shows_what_it_has_finished() -> None:
    async def main(clock: VirtualClock) -> None:
        line = Pipeline([Speaker("q", seconds=1), Speaker("r", seconds=9)], name="Line")
        handle = Debate([line, Speaker("B", "b")], Speaker("M", "done"), rounds=0).start("x")
        await clock.sleep(2)
        partial = handle.partial()
        assert partial is not None
        by_name = {said.agent_name: said for said in partial.messages}
        assert (by_name["B"].content, by_name["Line"].success) == ("b", False)
        assert by_name["Line"].content.startswith("[Error: not finished]\n\nq(Topic: x")
        result = await handle
        assert (result.success, [said.success for said in result.messages]) == (True, [True, True])

    virtual(main)


def test_a_round_like_the_one_before_is_a_warning() -> None:
    same = {"A": ballot(), "B": ballot()}
    result = Panel(same, rounds=3).run()
    assert result.warnings == tuple(f"Debate: round {n} says the same as round {n - 1}" for n in (1, 2, 3))
    assert (result.rounds_completed, result.stopped) == (3, None)
    result = Panel(same, rounds=3, stop_when_stuck=True).run()
    assert (result.rounds_completed, result.stopped, result.success) == (1, "no_progress", True)
    assert result.conclusion == "the conclusion"
    moving = Panel(
        {"A": [ballot("", "a"), ballot("", "b"), ballot("", "c")], "B": ballot()}, rounds=2, stop_when_stuck=True
    )
    assert moving.run().rounds_completed == 2, "another position is progress, though no other word was said"


# -- agents and settings


def test_who_moderates() -> None:
    class Forking(Speaker):
        tools = (len,)

        def fork(self, **changes: Any) -> Speaker:
            self.asked = changes
            return Speaker(changes["name"], "forked", self.calls)

    able = Forking("B", "b")
    debate = Debate([Speaker("A", "a"), able], rounds=0)
    assert (debate.moderator.name, able.asked["tools"], able.asked["role"][:17]) == (
        "Moderator",
        (),
        "You moderate deba",
    )
    assert virtual(lambda clock: debate.run("t")).conclusion == "forked"
    plain = Debate([Speaker("A", "a"), Speaker("B", "b")], rounds=0)
    assert plain.moderator is plain.agents[0]  # type: ignore[index]
    assert virtual(lambda clock: plain.run("t")).conclusion == "a"


def test_functions_with_a_name_debate_too() -> None:
    async def pro(message: str) -> str:
        return "yes"

    def con(message: str) -> str:
        return "no"

    result = virtual(lambda clock: Debate([pro, con], con, rounds=1).run("t"))
    assert [said.content for said in result.messages] == ["yes", "no", "yes", "no"]
    assert result.conclusion == "no"


TWICE = "agent 'A' is listed twice (0, 1): fork() it, or allow_duplicate_instances=True"
_A = Speaker("A")


@pytest.mark.spec("O50", "O5")
@pytest.mark.parametrize(
    ("agents", "options", "kind", "text"),
    [
        ([], {}, ValueError, "Debate needs at least 2 agents, got 0"),
        ([_A], {}, ValueError, "Debate needs at least 2 agents, got 1"),
        ([_A, None], {}, TypeError, "agent 1 (NoneType) has no async chat(message)"),
        ([_A, {}], {}, TypeError, "agent 1 (dict) has no async chat(message)"),
        ([_A, lambda text: text], {}, ValueError,
         "agent 1 is a function without a name: give it a name: as_agent(fn, name=…)"),
        ([_A, _A], {}, ValueError, TWICE),
        ([_A, Speaker("A")], {}, ValueError, "agent names must be unique in Debate: 'A'"),
        (3, {}, TypeError, "Debate needs a list of agents, not int"),
        (None, {"rounds": -1}, ValueError, "rounds=-1: it must be a whole number from 0"),
        (None, {"rounds": 1.5}, ValueError, "rounds=1.5: it must be a whole number from 0"),
        (None, {"round_timeout": -1}, ValueError, "round_timeout=-1: it must be seconds above 0, or None"),
        (None, {"round_timeout": 0}, ValueError, "round_timeout=0: it must be seconds above 0, or None"),
        (None, {"threshold": 2}, ValueError, "threshold=2: it must be above 0 and at most 1"),
        (None, {"threshold": 0}, ValueError, "threshold=0: it must be above 0 and at most 1"),
        (None, {"threshold": float("nan")}, ValueError, "threshold=nan: it must be above 0 and at most 1"),
        (None, {"consensus": "vote"}, ValueError, "consensus='vote': it must be 'ballot', 'judge' or a function"),
        (None, {"blind": 1}, ValueError, "blind=1: it must be True or False"),
        (None, {"require_consensus": None}, ValueError, "require_consensus=None: it must be True or False"),
        (None, {"moderator": 3}, TypeError, "moderator (int) has no async chat(message)"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(agents: Any, options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        Debate([_A, Speaker("B")] if agents is None else agents, **options)
    assert str(caught.value) == text


@pytest.mark.spec("O50")
@pytest.mark.parametrize("verb", ["run", "chat", "start"])
def test_bad_topics_are_refused_before_any_call(verb: str) -> None:
    panel = Panel()
    for topic, kind, text in ((" ", ValueError, "message is empty"), (3, TypeError, "message must be a str, not int")):
        with pytest.raises(kind) as caught:
            virtual(lambda clock, given=topic: getattr(panel.pattern, verb)(given))  # type: ignore[misc]
        assert str(caught.value) == text
    assert len(panel.calls) == 0


@pytest.mark.spec("O50")
def test_an_agent_that_answers_nothing_fails() -> None:
    result = Panel({"A": lambda message: None, "B": lambda message: 3, "C": "c"}, rounds=0).run()
    assert [said.error for said in result.messages[:2]] == [
        "A returned NoneType, expected str or an object with .content",
        "B returned int, expected str or an object with .content",
    ]
