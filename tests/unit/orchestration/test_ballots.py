"""Ballots: what the last lines of a speech say, and who supports whom."""

from __future__ import annotations

import pytest

from shoal.orchestration.ballots import Ballot, largest_support, read_ballot
from shoal.orchestration.consensus import consensus_of, read_verdict
from shoal.orchestration.results import Consensus, DebateMessage

NAMES = {name: name for name in ("Ann", "Bob", "Ann Lee", "R&D, EU")}


def test_the_ballot_moves_from_the_text_into_fields() -> None:
    text = "I weighed it.\n\nPOSITION: go slowly\nAGREES WITH: Bob, Ann\nCONFIDENCE: 80"
    assert read_ballot(text, NAMES) == Ballot(
        content="I weighed it.", position="go slowly", agrees_with=("Ann", "Bob"), confidence=80
    )


@pytest.mark.parametrize(
    ("text", "ballot"),
    [
        ("just words", Ballot(content="just words")),
        ("", Ballot(content="")),
        ("I AGREE WITH: nobody says\nand then more", Ballot(content="I AGREE WITH: nobody says\nand then more")),
        ("POSITION: yes", Ballot(content="", position="yes")),
        ("x\n**POSITION:** yes  \n\n- **Agrees with**: none\n> confidence: 7 %\n",
         Ballot(content="x", position="yes", confidence=7)),
        ("x\n```\nPOSITION: yes\nCONFIDENCE: 100\n```\n", Ballot(content="x\n```", position="yes", confidence=100)),
        ("POSITION: old\nPOSITION: new\nCONFIDENCE: 5", Ballot(content="POSITION: old", position="new", confidence=5)),
        ("POSITION: a: b\nmore\nCONFIDENCE: 5", Ballot(content="POSITION: a: b\nmore", confidence=5)),
        ("x\n\n---\n\nPOSITION: yes", Ballot(content="x\n\n---", position="yes")),
    ],
)  # fmt: skip
def test_forms_of_a_ballot(text: str, ballot: Ballot) -> None:
    assert read_ballot(text, NAMES) == ballot


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("none", ()),
        ("", ()),
        ("Ann", ("Ann",)),
        ("ann and BOB.", ("Ann", "Bob")),
        ("Ann Lee", ("Ann Lee",)),
        ("Ann Lee & Bob; R&D, EU", ("Bob", "Ann Lee", "R&D, EU")),
        ("[**Ann**, 'Bob']", ("Ann", "Bob")),
        ("not Ann", ()),
        ("everybody except Bob", ()),
        ("none, certainly not Ann", ()),
        ("Ann is wrong, Bob", ("Bob",)),
        ("Annabel", ()),
        ("Sand", ()),
        ("myself", ()),
    ],
)
def test_only_a_name_alone_is_agreement(listed: str, names: tuple[str, ...]) -> None:
    assert read_ballot(f"AGREES WITH: {listed}", NAMES).agrees_with == names


def test_longer_names_are_not_taken_for_shorter_ones() -> None:
    names = {f"Participant {number}": f"P{number}" for number in range(1, 12)}
    assert read_ballot("AGREES WITH: Participant 11, Participant 2", names).agrees_with == ("P2", "P11")
    assert read_ballot("AGREES WITH: Participant 1", names).agrees_with == ("P1",)
    assert read_ballot("AGREES WITH: P1", names).agrees_with == ()
    assert read_ballot("AGREES WITH: Ann", {}).agrees_with == ()


@pytest.mark.parametrize(
    ("text", "confidence"),
    [("80", 80), ("80%", 80), ("about 85.6", 86), ("85/100", 85), ("-3", 0), ("1000", 100), ("high", None), ("", None)],
)
def test_confidence_is_from_0_to_100(text: str, confidence: int | None) -> None:
    assert read_ballot(f"CONFIDENCE: {text}", NAMES).confidence == confidence


@pytest.mark.parametrize("evil", ["POSITION: a" + "* " * 50_000 + "b", "*" * 100_000 + "x", "AGREES WITH: " + "Ann" * 50_000,
                                  "AGREES WITH: Ann" + " " * 50_000 + "x", "\n- " * 50_000 + "x"])  # fmt: skip
def test_long_lines_take_no_longer_than_they_are(evil: str) -> None:
    assert read_ballot(evil, NAMES).agrees_with == ()


def _says(name: str, position: str, *agrees: str, success: bool = True) -> DebateMessage:
    return DebateMessage(agent_name=name, position=position, agrees_with=agrees, success=success)


def test_support_is_the_author_and_all_who_name_it() -> None:
    said = [_says("A", "a"), _says("B", "b", "C"), _says("C", "c")]
    assert largest_support(said, 4) == Consensus(position="c", supporters=("B", "C"), share=0.5, method="ballot")
    alone = largest_support([_says("A", "a"), _says("B", "b")], 2)
    assert alone == Consensus(position="a", supporters=("A",), share=0.5, method="ballot"), "among equals the first"
    both = largest_support([_says("A", "a", "B"), _says("B", "b", "A")], 2)
    assert both is not None and both.share == 1.0


def test_without_a_position_there_is_nothing_to_support() -> None:
    assert largest_support([_says("A", "", "B"), _says("B", "", "A")], 2) is None
    assert largest_support([_says("A", "a", success=False)], 2) is None
    assert largest_support([], 2) is None


# -- judges and functions

YES = '{"consensus": true, "position": "wait", "dissenters": [%s]}'


def test_a_verdict_is_read_from_json() -> None:
    verdict = YES % '"bob "'
    found = read_verdict(f"Here it is:\n```json\n{verdict}\n```", {"Ann": "Ann", "Bob": "Bob", "Eve": "Eve"})
    assert found == Consensus(position="wait", supporters=("Ann", "Eve"), share=2 / 3, method="judge")
    assert read_verdict('{"consensus": false, "position": "", "dissenters": []}', {"Ann": "Ann"}) is None
    assert read_verdict('{"consensus": false}', {"Ann": "Ann"}) is None
    blind = read_verdict(YES % '"Participant 1"', {"Ann": "Participant 1", "Bob": "Participant 2"})
    assert blind is not None and blind.supporters == ("Bob",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("They all agree.", "there is no JSON object with consensus in it"),
        ('{"consensus": "true", "position": "x", "dissenters": []}', "there is no JSON object with consensus in it"),
        ('{"consensus": true, "position": "x", "dissenters": [', "there is no JSON object with consensus in it"),
        ("{" * 5000, "there is no JSON object with consensus in it"),
        (YES % "" + ' but {"consensus": false}', "it holds several verdicts"),
        (YES % '"Zed"', "it names dissenters that are not in the debate"),
        (YES % '"Ann", "Bob"', "it tells of a consensus without anybody who supports it"),
        ('{"consensus": true, "position": " ", "dissenters": []}', "it tells of a consensus without a position"),
    ],
)
def test_what_cannot_be_read_is_no_verdict(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        read_verdict(text, {"Ann": "Ann", "Bob": "Bob"})
    assert str(caught.value) == reason


def test_what_a_function_may_say() -> None:
    assert consensus_of(None, ["A", "B"]) is None
    made = consensus_of(Consensus(position="x", supporters=("A",)), ["A", "B"])
    assert made == Consensus(position="x", supporters=("A",), share=0.5, method="function")
    assert consensus_of(Consensus(position="x", share=0.9), ["A"]) == Consensus(
        position="x", share=0.9, method="function"
    )
    with pytest.raises(TypeError, match="the consensus function returned bool, expected Consensus or None"):
        consensus_of(True, ["A"])
    with pytest.raises(ValueError, match="the consensus function named 'Z': the agents are A, B"):
        consensus_of(Consensus(position="x", supporters=("Z",)), ["A", "B"])
