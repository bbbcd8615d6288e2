"""Debates: when there is consensus, and who dissents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shoal.kernel.starting import present_clock
from shoal.orchestration import Consensus
from tests.support.debaters import Panel, ballot


@pytest.mark.spec("O16")
@pytest.mark.parametrize(
    "says", ["No consensus reached.", "not unanimous", "I agree to disagree", "Yes, we all agree."]
)
def test_words_are_not_searched_for_agreement(says: str) -> None:
    panel = Panel({"A": says, "B": says, "C": says}, moderator=says)
    result = panel.run()
    assert (result.consensus_reached, result.consensus, result.dissent) == (False, None, ())
    assert "There is no consensus." in panel.said_to("conclusion")
    judged = Panel({"A": says, "B": says, "C": says}, moderator=says, consensus="judge").run()
    assert (judged.consensus_reached, judged.success) == (False, True)
    agreeing = Panel({"A": ballot(says), "B": ballot(says), "C": ballot(says)}).run()
    assert not agreeing.consensus_reached, "a ballot that names nobody agrees with nobody"


@pytest.mark.spec("O16")
@pytest.mark.parametrize("answer", ['{"consensus": true, "position": "x", "dissenters": [', '{"consensus": "yes"}',
                                    "{}", "[]", '{"consensus": true}', OSError("down"), 3])  # fmt: skip
def test_a_judge_that_cannot_be_read_tells_of_no_consensus(answer: Any) -> None:
    panel = Panel(consensus="judge", moderator=lambda prompt: answer if "JSON" in prompt else "done")
    result = panel.run()
    assert (result.consensus_reached, result.success, result.conclusion) == (False, True, "done")
    assert "the judge's answer after round 2 is of no use: " in result.warnings[-1]


def _meeting(round_of_meeting: int) -> dict[str, Any]:
    """Return speakers who all agree with A from that round on."""
    other = {name: [ballot("No.", f"not {name}")] * round_of_meeting + [ballot("Fine.", "a", "A")] for name in "BC"}
    return {"A": ballot("Yes.", "do a"), **other}


@pytest.mark.spec("O17")
def test_the_first_round_in_which_ballots_meet_is_the_last() -> None:
    panel = Panel(_meeting(2), rounds=5, require_consensus=True)
    result = panel.run()
    assert (result.rounds_completed, result.consensus_reached, len(result.messages)) == (2, True, 9)
    assert result.consensus == Consensus(position="do a", supporters=("A", "B", "C"), share=1.0, method="ballot")
    assert (result.dissent, result.success, result.conclusion) == ((), True, "the conclusion")
    assert "There is consensus (A, B, C) on this:" in panel.said_to("conclusion")
    assert Panel(_meeting(2), rounds=5).run().rounds_completed == 5, "unless it is required, all rounds are held"
    late = Panel(_meeting(9), rounds=5, require_consensus=True).run()
    assert (late.rounds_completed, late.consensus_reached, late.success) == (5, False, True)


@pytest.mark.spec("O17")
def test_two_of_three_are_enough_where_the_threshold_says_so() -> None:
    said = {"A": ballot("Yes.", "do a"), "B": ballot("Yes.", "a too", "A"), "C": ballot("Never.", "not a", "none", 95)}
    panel = Panel(said, threshold=0.6)
    result = panel.run()
    assert result.consensus is not None and result.consensus.supporters == ("A", "B")
    assert round(result.consensus.share, 3) == 0.667
    (dissent,) = result.dissent
    assert (dissent.agent_name, dissent.position, dissent.reason, dissent.confidence, dissent.round) == (
        "C", "not a", "Never.", 95, 2,
    )  # fmt: skip
    assert "Dissenters: C\n" in panel.said_to("conclusion")
    assert not Panel(said).run().consensus_reached


def test_who_fails_in_the_last_round_dissents_with_what_it_stood_for() -> None:
    said = {"A": ballot("Yes.", "a"), "B": ballot("Yes.", "a", "A"), "C": [ballot("Hm.", "c"), OSError("down")]}
    (dissent,) = Panel(said, threshold=0.6, rounds=1).run().dissent
    assert (dissent.position, dissent.reason, dissent.round) == ("c", "Hm.", 0)


def test_a_judge_decides() -> None:
    verdict = '{"consensus": true, "position": "wait", "dissenters": ["C"]}'
    panel = Panel(consensus="judge", moderator=lambda prompt: verdict if "JSON" in prompt else "done", rounds=2)
    result = panel.run()
    assert result.consensus == Consensus(position="wait", supporters=("A", "B"), share=2 / 3, method="judge")
    assert [each.agent_name for each in result.dissent] == ["C"]
    assert [place for place in panel.calls.places() if "judge" in place] == ["r2/judge"], "asked when it matters"
    assert "The participants are: A, B, C\n" in panel.said_to("r2/judge")
    early = Panel(consensus="judge", moderator=lambda prompt: verdict, rounds=4, require_consensus=True)
    assert early.run().rounds_completed == 1
    assert [place for place in early.calls.places() if "judge" in place] == ["r1/judge"]


def test_a_function_decides() -> None:
    seen: list[tuple[str, int]] = []

    async def two_rounds(topic: str, messages: Any) -> Consensus | None:
        seen.append((topic, len(messages)))
        last = messages[-1].round
        return Consensus(position="enough", supporters=("A", "B")) if last == 2 else None

    result = Panel(rounds=5, require_consensus=True, consensus=two_rounds).run("t")
    assert (seen, result.rounds_completed) == ([("t", 6), ("t", 9)], 2)
    assert result.consensus == Consensus(position="enough", supporters=("A", "B"), share=2 / 3, method="function")
    assert [each.agent_name for each in result.dissent] == ["C"]


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (True, "the consensus function returned bool, expected Consensus or None"),
        (KeyError("x"), "'x'"),
        (asyncio.CancelledError(), "the function at r2:consensus was cancelled from within"),
        (Consensus(position="x", supporters=("Z",)), "the consensus function named 'Z': the agents are A, B, C"),
    ],
)
def test_a_function_that_fails_is_a_warning(returned: Any, text: str) -> None:
    def decide(topic: str, messages: Any) -> Any:
        if isinstance(returned, BaseException):
            raise returned
        return returned

    result = Panel(consensus=decide).run()
    assert (result.consensus_reached, result.success) == (False, True)
    assert result.warnings == (f"Debate: the consensus function after round 2 is of no use: {text}",)


def test_a_function_that_takes_longer_than_a_round_is_cut_short() -> None:
    async def dawdles(topic: str, messages: Any) -> None:
        await present_clock().sleep(99)

    result = Panel(consensus=dawdles, round_timeout=5).run()
    assert (result.success, result.consensus_reached, result.total_duration_ms) == (True, False, 5000)
    assert result.warnings == ("Debate: the consensus function after round 2 is of no use: Timeout",)
