"""The texts of the nouns in PostgreSQL's words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from shoal.store.sql.transaction import Params, Row

__all__ = ["prepared", "prepared_each", "prepared_many", "prepared_new", "prepared_rows", "readable"]

# What is left alone: texts, quoted names, casts. What is put in other words: parameters, hints, lists in JSON. What is
# for this database only stands in a comment: /* FOR UPDATE */.
_TOKEN = re.compile(
    r"""(?P<keep>'(?:[^']|'')*'|"[^"]*"|::)
    |/\*\ (?P<only>[A-Z ]+)\ \*/
    |(?P<hint>\b(?:NOT\ INDEXED|INDEXED\ BY\ \w+|CROSS(?=\ JOIN)))
    |json_each\((?P<list>\?|:\w+)\)(?:\s+AS\s+(?P<alias>\w+))?
    |:(?P<name>\w+)
    |(?P<mark>\?)""",
    re.VERBOSE,
)
# Text of PostgreSQL has no NUL. Written like this, texts keep their order, and which begins with which.
_ESCAPE = "\x01"
_NUL, _ITSELF = "\x01\x01", "\x01\x02"
_TYPES: dict[type, str] = {int: "bigint", bool: "boolean", str: 'text COLLATE "C"', float: "double precision"}
_BARE = {kind: kind.partition(" COLLATE")[0] for kind in _TYPES.values()}
_WHOLE, _TEXT = _TYPES[int], _TYPES[str]
_CONTROL = re.compile(r"[\x00-\x1f]")
_ENCODER = msgspec.json.Encoder()
_KEY = re.compile(r"ON CONFLICT \(([^()]+)\) DO NOTHING$")
_INSERT = re.compile(r"(?P<head>INSERT INTO \w+ \([^()]*\))\s+VALUES \([?,\s]*\)(?P<tail>.*)", re.DOTALL)


def prepared(sql: str, params: Params, first: int = 1) -> tuple[str, Sequence[Any]]:
    """Return a text with its parameters as PostgreSQL wants them.

    Args:
        sql: parameters as ``?`` or ``:name``; hints of SQLite; ``json_each(PARAMETER)`` with one column ``value``.
        params: a value for each.
        first: the number of its first parameter.
    """
    named = isinstance(params, Mapping)
    values = tuple(params.values()) if isinstance(params, Mapping) else tuple(params)
    names = tuple(params) if named else None
    text, order = _translated(sql, names, tuple(_TYPES.get(type(value), "") for value in values), first)
    return text, [_stored(values[place]) for place in order]


def prepared_rows(sql: str, params: Sequence[Params], first: int = 1, after: str = "") -> tuple[str, list[Any]] | None:
    """Return an INSERT of one row as one of many: a text and its parameters, a list a column, or the values of a single row;
    None for another text.

    Args:
        sql: inserts one row.
        params: rows, at least one.
        first: the number of its first parameter.
        after: another part of the same statement: nothing is inserted before it has a row, or when it has none.
    """
    if isinstance(params[0], Mapping):
        return None
    columns, types = _columns(params)
    alone = len(params) == 1
    text = _inserting(sql, types, first, after, alone)
    if text is None:
        return None
    if alone:
        return text, [_stored(value) for (value,), kind in zip(columns, types, strict=True) if kind]
    return text, _lists(columns, types)


def prepared_new(sql: str, params: Sequence[Params]) -> tuple[str, list[Any], list[Row]]:
    """Return an INSERT of one row that passes over what is there as one of many that returns the keys of what was new; and
    the key of each of *params*."""
    made, found = prepared_rows(sql, params), _KEY.search(sql)
    assert made is not None and found is not None, sql
    columns = [name.strip() for name in sql.partition("(")[2].partition(")")[0].split(",")]
    places = [columns.index(name.strip()) for name in found[1].split(",")]
    rows = (tuple(each) for each in params)
    return f"{made[0]} RETURNING {found[1]}", made[1], [tuple(row[place] for place in places) for row in rows]


def prepared_each(sql: str, params: Sequence[Params]) -> tuple[str, list[str]]:
    """Return an UPDATE of one row as one of many: its last column says for which of *params* a row is."""
    names = tuple(params[0]) if isinstance(params[0], Mapping) else None
    columns, types = _columns(params)
    return _updating(sql, names, types), _lists(columns, types)


def prepared_many(sql: str, params: Sequence[Params]) -> tuple[str, list[Sequence[Any]]]:
    """Return a text, and the values of each of its executions."""
    columns, types = _columns(params)
    names = tuple(params[0]) if isinstance(params[0], Mapping) else None
    text, order = _translated(sql, names, types)
    return text, list(zip(*([_stored(value) for value in columns[place]] for place in order), strict=True))


def _columns(params: Sequence[Params]) -> tuple[list[Sequence[Any]], tuple[str, ...]]:
    """Return the columns of parameters, and the type of each: '' when all of it is NULL."""
    rows = (each.values() if isinstance(each, Mapping) else each for each in params)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    return columns, tuple(map(_common, columns))


def _lists(columns: Sequence[Sequence[Any]], types: Sequence[str]) -> list[str]:
    """Return the columns that have a type, each as one text: the driver would take ten times as long for a list."""
    return [_list(column, kind) for column, kind in zip(columns, types, strict=True) if kind]


def _list(column: Sequence[Any], kind: str) -> str:
    """Return a column as PostgreSQL writes a list. JSON writes it in the same way but for control characters."""
    if kind == _WHOLE or (kind == _TEXT and not _CONTROL.search("".join(filter(None, column)))):
        return f"{{{_ENCODER.encode(column)[1:-1].decode()}}}"
    return f"{{{','.join(map(_element, column))}}}"


def _element(value: Any) -> str:
    if value is None:
        return "NULL"
    if type(value) is not str:
        return str(value)
    escaped = _stored(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(maxsize=1024)
def _inserting(sql: str, types: tuple[str, ...], first: int, after: str, alone: bool) -> str | None:
    found = _INSERT.fullmatch(sql)
    if found is None:
        return None
    numbers = itertools.count(first)
    if alone:
        values = ", ".join(f"${next(numbers)}::{_BARE[kind]}" if kind else "NULL" for kind in types)
        return f"{found['head']} SELECT {values}{f' FROM {after}' if after else ''}{found['tail']}"
    values = ", ".join(f"given.p{place}" if kind else "NULL" for place, kind in enumerate(types))
    source = f"{after}, {_given(types, first)}" if after else _given(types, first)
    return f"{found['head']} SELECT {values} FROM {source} ORDER BY given.n{found['tail']}"


@lru_cache(maxsize=512)
def _updating(sql: str, names: tuple[str, ...] | None, types: tuple[str, ...]) -> str:
    marks = iter(range(len(types)))

    def put(found: re.Match[str]) -> str:
        if found["name"] is None and found["mark"] is None:
            return found[0]
        place = next(marks) if names is None else names.index(found["name"])
        return f"given.p{place}" if types[place] else "NULL"

    head, _, tail = _TOKEN.sub(put, sql).partition("WHERE")
    return f"{head} FROM {_given(types)} WHERE {tail}, given.n"


def _given(types: tuple[str, ...], first: int = 1) -> str:
    """Return a clause with a numbered row for each place of the lists that are the parameters from *first*."""
    typed = [place for place, kind in enumerate(types) if kind]
    lists = ", ".join(f"${number}::text::{_BARE[types[place]]}[]" for number, place in enumerate(typed, first))
    return f"unnest({lists}) WITH ORDINALITY AS given ({''.join(f'p{place}, ' for place in typed)}n)"


def _common(column: Sequence[Any]) -> str:
    """Return the type of a column of parameters."""
    found = {_TYPES.get(kind, "") for kind in set(map(type, column))} - {""}
    return "double precision" if "double precision" in found else next(iter(found), "")


@lru_cache(maxsize=2048)
def _translated(
    sql: str, names: tuple[str, ...] | None, types: tuple[str, ...], first: int = 1
) -> tuple[str, tuple[int, ...]]:
    """Return the text, and which value each of its parameters is."""
    order: list[int] = []
    marks = 0

    def parameter(name: str | None) -> str:
        nonlocal marks
        if name is None:
            place = marks
            marks += 1
        else:
            assert names is not None, f"{name} has no value"
            place = names.index(name)
        if place not in order:
            order.append(place)
        kind = types[place]
        return f"${order.index(place) + first}" + (f"::{kind}" if kind else "")

    def put(found: re.Match[str]) -> str:
        if found["keep"]:
            return found["keep"]
        if found["hint"]:
            return ""
        if found["only"]:
            return found["only"]
        if listed := found["list"]:
            value = parameter(None if listed == "?" else listed[1:])
            rows = f'SELECT value COLLATE "C" AS value FROM jsonb_array_elements_text(CAST({value} AS jsonb))'
            return f"({rows}) AS {found['alias'] or 'listed'}"
        return parameter(found["name"])

    return _TOKEN.sub(put, sql), tuple(order)


def _escapes(values: Iterable[Any]) -> bool:
    """Tell whether some text among *values* has a character that is written, or is read, in another way."""
    texts = "".join([value for value in values if type(value) is str])
    return "\0" in texts or _ESCAPE in texts


def _stored(value: Any) -> Any:
    if type(value) is str and ("\0" in value or _ESCAPE in value):
        return value.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)
    return value


def readable(row: Sequence[Any]) -> Row:
    """Return a row with its values as they were given."""
    return tuple(map(_as_given, row)) if _escapes(row) else tuple(row)


def _as_given(value: Any) -> Any:
    if type(value) is str and _ESCAPE in value:
        return value.replace(_NUL, "\0").replace(_ITSELF, _ESCAPE)
    return value
