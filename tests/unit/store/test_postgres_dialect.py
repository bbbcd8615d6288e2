"""Texts of the nouns in PostgreSQL's words: one of a row becomes one of many, and what only one database has is seen to."""

from __future__ import annotations

import pytest

from shoal.store.postgres.dialect import prepared, prepared_each, prepared_many, prepared_rows, readable, sealing


def test_marks_names_and_casts() -> None:
    text, values = prepared("SELECT '?' FROM t WHERE a = ? AND b = ?", (1, "x"))
    assert text == "SELECT '?' FROM t WHERE a = $1::bigint AND b = $2::text COLLATE \"C\"" and values == [1, "x"]
    text, values = prepared("UPDATE t SET a = :a, b = :b WHERE a <> :a", {"b": None, "a": 2.5})
    assert text == "UPDATE t SET a = $1::double precision, b = $2 WHERE a <> $1::double precision"
    assert values == [2.5, None]


def test_hints_go_and_comments_for_this_database_come() -> None:
    text, _ = prepared("SELECT a FROM t INDEXED BY t_by_a LIMIT ? /* FOR UPDATE SKIP LOCKED */", (3,))
    assert " ".join(text.split()) == "SELECT a FROM t LIMIT $1::bigint FOR UPDATE SKIP LOCKED"


def test_rows_are_inserted_by_columns() -> None:
    made = prepared_rows(
        "INSERT INTO t (a, b, c) VALUES (?, ?, ?)\n    ON CONFLICT (a) DO NOTHING", [(1, None, "x"), (2, None, "y\0")]
    )
    assert made is not None
    text, columns = made
    assert " ".join(text.split()) == (
        "INSERT INTO t (a, b, c) SELECT given.p0, NULL, given.p2 FROM unnest($1::text::bigint[], "
        "$2::text::text[]) WITH ORDINALITY AS given (p0, p2, n) ORDER BY given.n ON CONFLICT (a) DO NOTHING"
    )
    assert columns == ["{1,2}", '{"x","y\x01\x01"}']
    assert prepared_rows("DELETE FROM t WHERE a = ?", [(1,)]) is None


def test_an_update_of_many_says_for_which_each_row_is() -> None:
    text, columns = prepared_each(
        "UPDATE t SET a = :a, b = :b WHERE k = :k AND a <> :a RETURNING c",
        [{"a": 1, "b": None, "k": "x"}, {"a": 2, "b": None, "k": "y"}],
    )
    assert " ".join(text.split()) == (
        "UPDATE t SET a = given.p0, b = NULL FROM unnest($1::text::bigint[], $2::text::text[]) WITH ORDINALITY "
        "AS given (p0, p2, n) WHERE k = given.p2 AND a <> given.p0 RETURNING c, given.n"
    )
    assert columns == ["{1,2}", '{"x","y"}']


def test_other_texts_are_run_once_for_each() -> None:
    text, rows = prepared_many("DELETE FROM t WHERE a = ? OR b = ?", [(1, "x"), (2, None)])
    assert text == 'DELETE FROM t WHERE a = $1::bigint OR b = $2::text COLLATE "C"'
    assert [list(row) for row in rows] == [[1, "x"], [2, None]]


def test_the_number_of_a_commit_comes_before_all_that_has_an_order() -> None:
    event = (1, "kind", "info", None, "t1", None, None, "{}")
    text, values = sealing(
        dict.fromkeys(("pending", "ready", "running", "completed", "failed", "cancelled"), 1), [event], True, ("w", 7)
    )
    assert text.index("sealed AS (UPDATE commits") < text.index("counted AS") < text.index("told AS")
    assert "FROM sealed, unnest(" in text and text.count("FROM sealed") == 3
    assert len(values) == 6 + 5 + 2
    text, values = sealing(None, [], False, ("w", 7))
    assert text.endswith(" SELECT 0") and values == ["w", 7], "the mark is left in any case"


@pytest.mark.parametrize("text", ["", "a", "\0", "\x01", "\0\x01", "\x01\0", "\x01\x01", "\x02\0\x02"])
def test_a_text_comes_back_as_it_was_given(text: str) -> None:
    _, (stored, number) = prepared("SELECT ?, ?", (text, 1))
    assert "\0" not in stored and readable((stored, number, None)) == (text, 1, None)
