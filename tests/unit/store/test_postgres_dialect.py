"""Texts of the nouns in PostgreSQL's words: one of a row becomes one of many, and what only one database has is seen to."""

from __future__ import annotations

import pytest

from shoal.store.postgres.dialect import prepared, prepared_each, prepared_many, prepared_rows, readable
from shoal.store.postgres.sealing import sealing, sealing_alone
from shoal.store.sql.transaction import Gathered, Sole


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


def test_a_single_row_is_inserted_by_its_values() -> None:
    insert = "INSERT INTO t (a, b, c) VALUES (?, ?, ?)\n    ON CONFLICT (a) DO NOTHING"
    made = prepared_rows(insert, [(1, None, "x\0")], 3, "marked")
    assert made is not None
    text, values = made
    assert " ".join(text.split()) == (
        "INSERT INTO t (a, b, c) SELECT $3::bigint, NULL, $4::text FROM marked ON CONFLICT (a) DO NOTHING"
    )
    assert values == [1, "x\x01\x01"]


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


COUNTED = dict.fromkeys(("pending", "ready", "running", "completed", "failed", "cancelled"), 1)
EVENT = (1, "kind", "info", None, "t1", None, None, "{}")


def test_the_number_of_a_commit_comes_before_all_that_has_an_order() -> None:
    rows = [("INSERT INTO t (a) VALUES (?)", [(1,), (2,)])]
    text, values = sealing(Gathered(rows, COUNTED, [EVENT], True), ("w", 7), beside=True)
    assert text.index("sealed AS (UPDATE commits") < text.index("counted AS") < text.index("new0 AS")
    assert text.count("FROM sealed, unnest(") == 1 and text.count("FROM sealed") == 4
    assert values[:2] == ["w", 7] and values[-1] == "{1,2}" and len(values) == 2 + 6 + 5 + 1
    nobody = Gathered([], None, [], False)
    text, values = sealing(nobody, ("w", 7), beside=True)
    assert text.endswith(" SELECT 0") and values == ["w", 7], "the mark is left in any case"
    text, values = sealing(nobody, ("w", 7), beside=False)
    assert text.endswith(" SELECT (SELECT number FROM sealed)"), "who was alone is told from those beside others"


def test_one_statement_writes_nothing_before_it_has_looked_at_all_conditions() -> None:
    sole = Sole(
        None, ("SELECT 1 FROM t WHERE a = ?", ("x",)), ("UPDATE t SET b = :b WHERE a = :a", {"a": "x", "b": 1}), 41
    )
    text, values = sealing_alone(Gathered([], COUNTED, [EVENT], True), ("w", 7), 99, sole)
    assert values[:3] == [7, "w", "x"] and values[3] == 41 and set(values[4:6]) == {"x", 1}
    assert "sealed AS (UPDATE commits SET number = number + 1 FROM turn, held WHERE turn.free AND " in text
    assert text.count("FROM marked") == 4 and "commits.number = $4::bigint RETURNING" in text
    text, _ = sealing_alone(Gathered([], None, [EVENT], True), ("w", 7), 99)
    assert "held" not in text and text.index("turn AS") < text.index("sealed AS") < text.index("marked AS")


@pytest.mark.parametrize("text", ["", "a", "\0", "\x01", "\0\x01", "\x01\0", "\x01\x01", "\x02\0\x02"])
def test_a_text_comes_back_as_it_was_given(text: str) -> None:
    _, (stored, number) = prepared("SELECT ?, ?", (text, 1))
    assert "\0" not in stored and readable((stored, number, None)) == (text, 1, None)
