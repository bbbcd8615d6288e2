"""Issues: opened by reviewers, closed by id alone; and what keeps work from being approved."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.config import OrchestratorConfig
from shoal.orchestration.workflow.judging import judge
from shoal.orchestration.workflow.ledger import Ledger, same_title
from shoal.orchestration.workflow.review import Issue, Review
from shoal.orchestration.workflow.reviews import read_review

FOUND = (
    Issue(severity="HIGH", title="Missing rate limiting"),
    Issue(severity="MEDIUM", title="Token expiry too long"),
    Issue(severity="MEDIUM", title="No refresh token rotation"),
)
CONFIG = OrchestratorConfig()


def _take(ledger: Ledger, message_id: str = "msg_1", **review: Any) -> list[str]:
    return ledger.take(Review(**review), message_id=message_id, role="Reviewer")


def _issues(ledger: Ledger) -> tuple[Issue, ...]:
    return ledger.seen([""])


def _open(ledger: Ledger) -> tuple[Issue, ...]:
    return tuple(issue for issue in _issues(ledger) if issue.status == "open")


def _first() -> Ledger:
    ledger = Ledger()
    assert _take(ledger, score=85, issues=FOUND) == []
    return ledger


def _states(ledger: Ledger) -> dict[str, str]:
    return {issue.id: issue.status for issue in _issues(ledger)}


def test_issues_get_ids_in_the_order_of_finding() -> None:
    ledger = _first()
    first = _issues(ledger)[0]
    assert [issue.id for issue in _issues(ledger)] == ["R1", "R2", "R3"]
    assert _open(ledger) == _issues(ledger)
    assert (first.opened_in, first.opened_by, first.severity, first.status) == ("msg_1", "Reviewer", "HIGH", "open")


def test_a_fix_is_approved_when_all_ids_are_closed() -> None:
    ledger = _first()
    review = Review(score=85, issues=FOUND)
    reasons = judge(review, _open(ledger), CONFIG, ())
    assert reasons == (
        "score 85 < 90",
        "open: R1 HIGH Missing rate limiting, R2 MEDIUM Token expiry too long, R3 MEDIUM No refresh token rotation",
    )
    again = Review(score=98, resolved=("R1", "R2", "R3"), approved=True)
    assert ledger.take(again, message_id="msg_3", role="Reviewer") == []
    assert judge(again, _open(ledger), CONFIG, ()) == ()
    assert [(issue.status, issue.opened_in, issue.closed_in) for issue in _issues(ledger)] == [
        ("resolved", "msg_1", "msg_3")
    ] * 3


@pytest.mark.spec("W4")
def test_one_id_left_out_is_not_approved_and_named() -> None:
    ledger = _first()
    said = read_review("Security score: 98/100\nAll issues resolved\nApproved for merge\nResolved: R1, R2").review
    assert ledger.take(said, message_id="msg_3", role="Reviewer") == []
    assert _states(ledger) == {"R1": "resolved", "R2": "resolved", "R3": "open"}
    assert judge(said, _open(ledger), CONFIG, ()) == ("open: R3 MEDIUM No refresh token rotation",)


def test_an_issue_with_a_known_title_is_that_issue() -> None:
    ledger = _first()
    _take(ledger, issues=(Issue(severity="LOW", title="  missing RATE\tlimiting "), Issue(title="New one")))
    assert [(issue.id, issue.severity, issue.title) for issue in _issues(ledger)][::3] == [
        ("R1", "HIGH", "Missing rate limiting"),
        ("R4", "HIGH", "New one"),
    ]
    assert same_title("A  b") == same_title("a B ")


def test_a_closed_issue_named_again_is_open_again() -> None:
    ledger = _first()
    _take(ledger, "msg_2", resolved=("r1", "R2"))
    assert _states(ledger) == {"R1": "resolved", "R2": "resolved", "R3": "open"}
    _take(ledger, "msg_3", issues=(Issue(title="Missing rate limiting"), Issue(id="R2", title="Token expiry too long")))
    assert set(_states(ledger).values()) == {"open"}
    assert _issues(ledger)[0].closed_in == ""


def test_an_issue_that_is_resolved_and_named_stays_open() -> None:
    ledger = _first()
    warnings = _take(ledger, issues=(Issue(id="R1", title="Missing rate limiting"),), resolved=("R1",))
    assert warnings == ["R1 is both resolved and named: it stays open"]
    assert _states(ledger)["R1"] == "open"


def test_a_new_issue_under_an_old_id_is_not_lost() -> None:
    ledger = _first()
    _take(ledger, issues=(Issue(id="R1", title="SQL injection"),), resolved=("R1", "R2", "R3"))
    assert _states(ledger) == {"R1": "resolved", "R2": "resolved", "R3": "resolved", "R4": "open"}
    assert _open(ledger)[0].title == "SQL injection"
    assert _take(ledger, issues=(Issue(id="R4", title="Injection of SQL"),)) == [
        "R4 is now called 'Injection of SQL': it is the issue it was"
    ]
    assert len(_issues(ledger)) == 4


def test_ids_in_use_are_skipped() -> None:
    ledger = Ledger()
    issues = (Issue(title="a"), Issue(id="R1", title="b"), Issue(title="c"), Issue(id="SEC-1", title="d"))
    _take(ledger, issues=issues)
    assert {issue.title: issue.id for issue in _issues(ledger)} == {"a": "R2", "b": "R1", "c": "R3", "d": "SEC-1"}


def test_unknown_ids_are_ignored_with_a_warning() -> None:
    ledger = _first()
    assert _take(ledger, resolved=("R9", "all", "R1")) == [
        "resolved: 'R9' is no known issue: it is ignored",
        "resolved: 'all' is no known issue: it is ignored",
    ]
    assert _states(ledger)["R1"] == "resolved"


def test_a_waived_issue_stays_waived() -> None:
    ledger = _first()
    ledger.waive(_issues(ledger)[0], "C5.1")
    warnings = _take(ledger, issues=FOUND[:1], resolved=("R1",))
    assert warnings == ["R1 is named again; it stays waived, as decided in C5.1"]
    assert (_issues(ledger)[0].status, _issues(ledger)[0].conflict_id) == ("waived", "C5.1")
    assert [issue.id for issue in _open(ledger)] == ["R2", "R3"]


def test_an_issue_stands_as_the_steps_up_to_one_have_left_it() -> None:
    ledger = Ledger()
    first = Review(issues=FOUND[:1])
    ledger.take(first, message_id="msg_1", role="Reviewer", step="1")
    ledger.take(Review(resolved=("R1",)), message_id="msg_2", role="Reviewer", step="1")
    ledger.take(first, message_id="msg_4", role="Reviewer", step="3", before=["1"])
    assert [issue.status for issue in ledger.seen(["1", "2"])] == ["resolved"]
    assert [issue.status for issue in ledger.seen(["1", "3"])] == ["open"]
    ledger.waive(ledger.seen(["1", "2"])[0], "C2.1", step="2")
    assert [issue.status for issue in ledger.seen(["1", "2", "3"])] == ["open"]
    assert ledger.take(Review(resolved=("R1",)), message_id="msg_5", role="Reviewer", step="4") == [
        "resolved: 'R1' is no known issue: it is ignored"
    ]


def test_an_issue_as_a_reviewer_gives_it_cannot_be_closed_from_the_start() -> None:
    ledger = Ledger()
    _take(ledger, issues=(Issue(title="a", status="resolved", closed_in="x", conflict_id="C1", opened_by="me"),))
    assert _issues(ledger) == (Issue(id="R1", title="a", opened_in="msg_1", opened_by="Reviewer"),)


def test_what_keeps_work_from_being_approved() -> None:
    low = Issue(id="R1", severity="LOW", title="Typo")
    good = Review(score=90, approved=True)
    config = OrchestratorConfig(blocking=("HIGH", "MEDIUM"))
    assert judge(good, (low,), config, ()) == ()
    assert judge(good, (low,), CONFIG, ()) == ("open: R1 LOW Typo",)
    assert judge(good, (), CONFIG, ("missing file a.py",)) == ("missing file a.py",)
    assert judge(Review(score=95), (), CONFIG, ()) == ("the reviewer does not approve",)
    assert judge(Review(score=89), (), CONFIG, ("x",)) == ("score 89 < 90", "x")
    assert judge(Review(score=50, approved=True), (), OrchestratorConfig(pass_score=50), ()) == ()


TITLES = st.sampled_from(["a", "A ", "b", "c", "d"])
IDS = st.sampled_from(["", "R1", "r2", "R3", "X"])
REVIEWS = st.builds(
    Review,
    issues=st.lists(st.builds(Issue, id=IDS, title=TITLES), max_size=4).map(tuple),
    resolved=st.lists(st.sampled_from(["R1", "R2", "x", "R9"]), max_size=3).map(tuple),
)


@given(st.lists(REVIEWS, max_size=5))
def test_ids_and_titles_stay_single_and_only_ids_close(reviews: list[Review]) -> None:
    ledger = Ledger()
    for number, review in enumerate(reviews):
        before = {issue.id: issue for issue in _issues(ledger)}
        ledger.take(review, message_id=f"msg_{number}", role="Reviewer")
        assert len({issue.id.casefold() for issue in _issues(ledger)}) == len(_issues(ledger))
        assert len({same_title(issue.title) for issue in _issues(ledger)}) == len(_issues(ledger))
        assert [issue.id for issue in _issues(ledger)][: len(before)] == list(before)
        resolved = {each.casefold() for each in review.resolved}
        for issue in _issues(ledger):
            if issue.status == "resolved" and before[issue.id].status == "open":
                assert issue.id.casefold() in resolved
        for named in review.issues:
            assert any(same_title(issue.title) == same_title(named.title) for issue in _open(ledger)) or named.id


@given(st.lists(REVIEWS, max_size=4))
def test_the_same_reviews_make_the_same_ledger(reviews: list[Review]) -> None:
    first, second = Ledger(), Ledger()
    for ledger in (first, second):
        for review in reviews:
            _take(ledger, issues=review.issues, resolved=review.resolved)
    assert _issues(first) == _issues(second)
