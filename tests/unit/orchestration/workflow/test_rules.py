"""The rules of conflicts: which position concerns security, which is against a requirement, and who wins by that."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.conflict import Conflict, Position, Ruling
from shoal.orchestration.workflow.rules import (
    concerns_security,
    goes_against,
    requirements_first,
    security_first,
    tagged,
)


def conflict(*positions: Position, requirements: tuple[str, ...] = ()) -> Conflict:
    return Conflict(id="C1", topic="the topic", positions=positions, requirements=requirements)


def position(agent: str, statement: str, *evidence: str, tags: tuple[str, ...] = ()) -> Position:
    return Position(agent=agent, statement=statement, evidence=evidence, tags=tags)


FAST = position("Developer", "We should use synchronous hashing for performance")
SAFE = position("Reviewer", "Synchronous hashing is vulnerable to timing attacks")

# -- security


def test_the_security_position_wins_and_becomes_the_constraint() -> None:
    assert security_first(conflict(FAST, SAFE)) == Ruling(
        rule="security_first",
        winner="Reviewer",
        reason="The position of Reviewer concerns security",
        constraint="Synchronous hashing is vulnerable to timing attacks",
    )
    ruling = security_first(conflict(SAFE, FAST, requirements=("Fast answers", "Secure password hashing")))
    assert ruling is not None and ruling.winner == "Reviewer"
    assert ruling.reason.endswith("concerns security, and so does a requirement: Secure password hashing")


@pytest.mark.parametrize(
    "word",
    [
        *("secure", "Security", "vulnerable", "attackers", "authentication", "AUTHORIZED", "encrypted", "injection"),
        *("timing", "leaks", "secrets", "token_secret", "non-secure"),
    ],
)
def test_words_that_concern_security(word: str) -> None:
    assert concerns_security(position("A", f"That is {word}, I think."))
    assert concerns_security(position("A", "That is bad.", f"({word})"))


@pytest.mark.parametrize("word", ["insecure", "unauthorized", "sectors", "heartattack", "time", ""])
def test_words_that_do_not_begin_so(word: str) -> None:
    assert not concerns_security(position("A", f"That is {word}, I think."))


@pytest.mark.parametrize(
    ("statement", "concerns"),
    [
        ("We should drop encryption for performance", False),
        ("Skip all of the authentication in tests", False),
        ("Disabling encryption lets attackers read it", True),
        ("Dropping passwords; the log is secured", True),
    ],
)
def test_who_gives_security_up_does_not_defend_it(statement: str, concerns: bool) -> None:
    assert concerns_security(position("A", statement)) is concerns


def test_tags_that_were_given_decide_before_words() -> None:
    assert not concerns_security(position("A", "It is not vulnerable", tags=("performance",)))
    assert concerns_security(position("A", "Limit the rate", tags=("cost", " Security")))
    ruling = security_first(
        conflict(position("A", "Secure enough", tags=("cost",)), position("B", "No", tags=("attack",)))
    )
    assert ruling is not None and ruling.winner == "B"
    assert tagged(SAFE).tags == ("security",) and tagged(FAST) is FAST
    marked = position("A", "secure", tags=("cost",))
    assert tagged(marked) is marked


def test_of_several_the_one_that_states_it_wins_and_two_that_do_are_for_others_to_decide() -> None:
    against = position("Developer", "Hash at once", "no attack was ever seen")
    ruling = security_first(conflict(against, SAFE))
    assert ruling is not None and ruling.winner == "Reviewer", "evidence may speak of it, too"
    assert security_first(conflict(SAFE, position("Tester", "It is secure"))) is None
    assert security_first(conflict(FAST, position("Tester", "It is slow"))) is None
    assert security_first(conflict(FAST, requirements=("Secure hashing",))) is None
    assert security_first(conflict()) is None


# -- requirements


@pytest.mark.parametrize(
    ("statement", "against"),
    [
        ("No rate limiting", True),
        ("We can skip the rate limiting for internal calls", True),
        ("It is fast. We don't need rate limits!", True),
        ("We shouldn’t do rate limiting", True),
        ("Disabling rate limits is fine", True),
        ("Rate limiting is overkill", True),
        ("Rate limiting is not needed", True),
        ("Add rate limiting", False),
        ("Never drop rate limiting", False),
        ("Rate limiting must not wait", False),
        ("No, rate limiting must stay", False),
        ("No limits at all", False),
        ("Without tests, and rate limiting at the gateway", False),
        ("", False),
    ],
)
def test_what_is_against_a_requirement(statement: str, against: bool) -> None:
    assert goes_against(statement, "Rate limiting") is against


def test_a_requirement_that_forbids_something_is_for_the_lead() -> None:
    assert not goes_against("Passwords in plain text are a risk", "No passwords in plain text")
    assert not goes_against("No tests", "it must")


def test_a_position_against_a_requirement_loses() -> None:
    drop, keep = position("Developer", "Drop the rate limiting"), position("Reviewer", "It must be there")
    required = ("Fast answers", "Rate limiting")
    assert requirements_first(conflict(drop, keep, requirements=required)) == Ruling(
        rule="requirements_first",
        winner="Reviewer",
        reason="The position of Developer is against a requirement: Rate limiting",
        constraint="Rate limiting",
    )
    third = position("Tester", "No rate limits")
    ruling = requirements_first(conflict(drop, keep, third, requirements=required))
    assert ruling is not None and ruling.winner == "Reviewer"
    assert "of Developer and of Tester is against" in ruling.reason


def test_no_ruling_unless_exactly_one_is_left() -> None:
    drop, keep = position("Developer", "Drop the rate limiting"), position("Reviewer", "It must be there")
    required = ("Rate limiting",)
    assert requirements_first(conflict(drop, keep)) is None
    assert requirements_first(conflict(drop, requirements=required)) is None
    assert requirements_first(conflict(keep, requirements=required)) is None, "nobody is against it"
    assert requirements_first(conflict(drop, keep, position("C", "Maybe"), requirements=required)) is None


# -- any text


@given(st.text(), st.text(), st.lists(st.text()))
def test_any_text_is_read(statement: str, requirement: str, evidence: list[str]) -> None:
    one = conflict(position("A", statement, *evidence), position("B", requirement), requirements=(requirement,))
    assert security_first(one) == security_first(one)
    assert requirements_first(one) == requirements_first(one)


@pytest.mark.parametrize("text", ["drop ", "drop x", "not ", "{", "secur", " ", ". ", "a’t"])
def test_long_texts_hold_nobody_up(text: str) -> None:
    long = text * (2_000_000 // len(text))
    began = time.perf_counter()
    one = conflict(position("A", long, long), position("B", long), requirements=(long, "Rate limiting"))
    security_first(one)
    requirements_first(one)
    assert time.perf_counter() - began < 1
