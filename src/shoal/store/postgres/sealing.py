"""The statement that ends a transaction: it writes what was gathered, numbers the commit and leaves the mark of its group.

The number is drawn before all else, and its row stays locked to the end of the transaction: so numbers, and ids of events,
rise in the order of commits. The mark, a writer and the number of its group, tells later whether the commit came about.

A group that needs no other statement is a transaction by this one alone, without a word to begin and one to end it. It
may come to the server late, when its writer has given its connection up: it does nothing then that finds a later mark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.store.postgres.dialect import prepared, prepared_rows
from shoal.store.sql.transaction import COUNTED, INSERT_EVENT, Gathered, Params, Sole

__all__ = ["LAST", "MARK", "NAME", "Mark", "Notice", "few", "sealing", "sealing_alone"]

Mark = tuple[str, int]
Notice = tuple[Sequence[str], str]
"""Channels, and what is said on each."""

NAME = """INSERT INTO writers (writer, number, at) VALUES (CAST(gen_random_uuid() AS text), 0, now())
    RETURNING writer"""
"""Gives a new writer its name."""
LAST = "SELECT number FROM writers WHERE writer = ?"
"""Tells the last mark of a writer."""

MARK = """INSERT INTO writers (writer, number, at) VALUES (?, ?, now())
    ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at"""
"""Leaves the mark of a writer."""
_MARKED = MARK.replace("(?, ?,", "(${}::text, ${}::bigint,")
_NUMBER = "UPDATE commits SET number = number + 1"
_COUNT = f"UPDATE task_counts SET {', '.join(f'{name} = {name} + ${{}}' for name in COUNTED)}"
_TURN = "turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock_shared({}) AS free)"
_MARKED_ONCE = """UPDATE writers SET number = ${0}::bigint, at = now() FROM sealed
    WHERE writers.writer = ${1}::text AND writers.number < ${0} RETURNING sealed.number"""
_FEW = 16


def few(new: Sequence[tuple[str, Sequence[Params]]]) -> bool:
    """Tell whether *new* rows may be written while the number of the commit is held, for which others wait."""
    return sum(len(rows) for _, rows in new) <= _FEW


def sealing(gathered: Gathered, mark: Mark, *, beside: bool) -> tuple[str, list[Any]]:
    """Return the last statement of a transaction with its parameters. It returns the commit's number, 0 for one *beside*
    others that nobody wants to hear of."""
    values: list[Any] = list(mark)
    numbered = gathered.announce or not beside
    parts = [f"sealed AS ({_NUMBER} RETURNING number)"] if numbered else []
    parts.append(f"marked AS ({_MARKED.format(1, 2)})")
    parts += _gathered(gathered, values, "sealed" if numbered else "")
    number = "(SELECT number FROM sealed)" if numbered else "0"
    return f"WITH {', '.join(parts)} SELECT {number}", values


def sealing_alone(
    gathered: Gathered, mark: Mark, key: int, sole: Sole | None = None, notice: Notice | None = None
) -> tuple[str, list[Any]]:
    """Return a transaction that is one statement. It returns the commit's number; nothing, having at most drawn one,
    when somebody holds the lock *key* for himself, when the writer has left a later mark, or when *sole* asks for what is
    not so: then it has changed nothing else.

    *notice* is heard once it is committed.

    Rows are seen as they were before the lock was looked at, so *sole*, which depends on them, holds for one last commit.
    """
    writer, number = mark
    values: list[Any] = [number, writer]
    parts, sources, condition = [_TURN.format(key)], "turn", "turn.free"
    if sole is not None and sole.held is not None:
        parts.append(f"held AS ({_put(sole.held, values)})")
        sources += ", held"
        condition += f" AND commits.number = {_last(sole.seen, values)}"
    parts.append(f"sealed AS ({_NUMBER} FROM {sources} WHERE {condition} RETURNING commits.number)")
    parts.append(f"marked AS ({_MARKED_ONCE.format(1, 2)})")
    if sole is not None and sole.change is not None:
        parts.append(f"changed AS ({_put(sole.change, values)} AND EXISTS (SELECT 1 FROM marked))")
    parts += _gathered(gathered, values, "marked")
    told = "number"
    if notice is not None:
        channels, payload = notice
        told += f", (SELECT count(pg_notify(c, ${len(values) + 1}::text)) FROM unnest(${len(values) + 2}::text[]) AS c)"
        values += (payload, channels)
    return f"WITH {', '.join(parts)} SELECT {told} FROM marked", values


def _last(seen: int | None, values: list[Any]) -> str:
    if seen is None:
        return "(SELECT number FROM commits)"
    values.append(seen)
    return f"${len(values)}::bigint"


def _put(statement: tuple[str, Params], values: list[Any]) -> str:
    text, more = prepared(*statement, first=len(values) + 1)
    values += more
    return text


def _gathered(gathered: Gathered, values: list[Any], after: str) -> list[str]:
    """Return the parts that write, once there is a row of the part *after*; adds their parameters to *values*."""
    parts = []
    if gathered.counted is not None:
        parts.append(f"counted AS ({_counting(gathered.counted, values)}{f' FROM {after}' if after else ''})")
    told = [(INSERT_EVENT, gathered.events)] if gathered.events else []
    for number, (sql, rows) in enumerate([*told, *gathered.new]):
        made = prepared_rows(sql, rows, len(values) + 1, after)
        assert made is not None, sql
        parts.append(f"new{number} AS ({made[0]})")
        values += made[1]
    return parts


def _counting(counted: Mapping[str, int], values: list[Any]) -> str:
    text = _COUNT.format(*range(len(values) + 1, len(values) + 1 + len(COUNTED)))
    values += [counted[name] for name in COUNTED]
    return text
