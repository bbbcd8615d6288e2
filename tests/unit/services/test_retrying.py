"""Whether a request may be sent to another instance: every rule, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.errors import NotFound, RequestError
from shoal.services import codes
from shoal.services.retrying import ELSEWHERE, Outcome, may_retry, wellness

WORDS = st.sampled_from(sorted(codes.ALL))


def outcome(code: str, *, own: bool = False, began: bool = False, retryable: bool = False) -> Outcome:
    return Outcome(error=RequestError(code, retryable=retryable), own=own, began=began)


@pytest.mark.parametrize("code", sorted(ELSEWHERE))
def test_what_surely_did_not_run_may_run_elsewhere(code: str) -> None:
    assert may_retry(outcome(code), idempotent=False, attempt=1, retries=2)


@pytest.mark.parametrize("code", ["AGENT_DIED", "TIMEOUT"])
def test_what_may_have_run_only_when_that_does_no_harm(code: str) -> None:
    assert not may_retry(outcome(code, began=True), idempotent=False, attempt=1, retries=2)
    assert may_retry(outcome(code, began=True), idempotent=True, attempt=1, retries=2)


@given(WORDS, st.booleans(), st.booleans(), st.booleans())
def test_an_agents_own_error_is_its_answer_unless_it_says_otherwise(
    code: str, idempotent: bool, began: bool, retryable: bool
) -> None:
    end = outcome(code, own=True, began=began, retryable=retryable)
    assert may_retry(end, idempotent=idempotent, attempt=1, retries=2) is retryable


@pytest.mark.parametrize(
    "code",
    ["NOT_A_SERVER", "TYPE_NOT_ALLOWED", "TOO_LARGE", "DEADLOCK", "CHAIN_TOO_DEEP", "VALIDATION_ERROR", "UNAUTHORIZED"],
)
def test_what_the_request_is_to_blame_for_no_other_instance_does_better(code: str) -> None:
    assert not may_retry(outcome(code), idempotent=True, attempt=1, retries=2)


@given(WORDS, st.booleans(), st.booleans(), st.booleans(), st.integers(0, 5), st.integers(1, 10))
def test_never_more_than_so_many_attempts(
    code: str, own: bool, began: bool, retryable: bool, retries: int, attempt: int
) -> None:
    end = outcome(code, own=own, began=began, retryable=retryable)
    if may_retry(end, idempotent=True, attempt=attempt, retries=retries):
        assert attempt <= retries


def test_an_answer_is_not_asked_for_again() -> None:
    assert not may_retry(Outcome(data={}), idempotent=True, attempt=1, retries=2)


def test_what_an_attempt_says_of_the_instance() -> None:
    assert wellness(Outcome(data={})) is True
    assert wellness(outcome("AGENT_DIED")) is False
    assert wellness(outcome("TIMEOUT")) is False
    assert wellness(outcome("EXECUTION_ERROR", own=True)) is False
    assert wellness(outcome("AGENT_DIED", own=True)) is True, "it tells of another one's death"
    assert wellness(outcome("TIMEOUT", own=True)) is True
    assert wellness(outcome("INSUFFICIENT_FUNDS", own=True)) is True
    assert wellness(Outcome(error=NotFound("no such id"), own=True)) is True, "it is the agent's answer"
    assert wellness(Outcome(error=NotFound("it has left"))) is None
    assert wellness(outcome("MAILBOX_FULL")) is None
