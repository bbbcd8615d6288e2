"""Which acceptance lines need a test on PostgreSQL and NATS."""

from __future__ import annotations

import pytest

from tests.support import acceptance


def test_a_line_that_nobody_holds_is_named() -> None:
    assert acceptance.faults({"R1", "R12", "R2", "O3"}, {"R1", "O3"}, {"R12"}) == [
        "R2 is held by no test on PostgreSQL and NATS"
    ]


def test_a_line_that_stands_apart_for_no_reason_is_named() -> None:
    assert acceptance.faults({"B1"}, {"B1"}, {"B1", "S99"}) == [
        "B1 is held there, so it need not stand apart",
        "S99 stands apart, and no test is marked with it",
    ]


def test_words_stand_for_all_lines_between(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "APART", {"why": "O9-O11 O20", "because": "S3"})
    assert acceptance.apart() == {"O9", "O10", "O11", "O20", "S3"}
