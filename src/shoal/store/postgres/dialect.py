"""The texts of the nouns in PostgreSQL's words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from shoal.store.sql.transaction import Params

__all__ = ["prepared", "prepared_many", "readable"]

# What is left alone: texts, quoted names, casts. What is put in other words: parameters, hints, lists in JSON.
_TOKEN = re.compile(
    r"""(?P<keep>'(?:[^']|'')*'|"[^"]*"|::)
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


def prepared(sql: str, params: Params) -> tuple[str, Sequence[Any]]:
    """Return a text with its parameters as PostgreSQL wants them.

    Args:
        sql: parameters as ``?`` or ``:name``; hints of SQLite; ``json_each(PARAMETER)`` with one column ``value``.
        params: a value for each.
    """
    named = isinstance(params, Mapping)
    values = tuple(params.values()) if isinstance(params, Mapping) else tuple(params)
    names = tuple(params) if named else None
    text, order = _translated(sql, names, tuple(_TYPES.get(type(value), "") for value in values))
    return text, [_stored(values[place]) for place in order]


def prepared_many(sql: str, params: Sequence[Params]) -> tuple[str, list[Sequence[Any]]]:
    """Return a text, and the values of each of its executions."""
    rows = [tuple(each.values()) if isinstance(each, Mapping) else tuple(each) for each in params]
    names = tuple(params[0]) if isinstance(params[0], Mapping) else None
    types = tuple(_common(column) for column in zip(*rows, strict=True))
    text, order = _translated(sql, names, types)
    return text, [[_stored(row[place]) for place in order] for row in rows]


def _common(column: Sequence[Any]) -> str:
    """Return the type of a column of parameters."""
    found = {_TYPES.get(type(value), "") for value in column} - {""}
    return "double precision" if "double precision" in found else next(iter(found), "")


@lru_cache(maxsize=2048)
def _translated(sql: str, names: tuple[str, ...] | None, types: tuple[str, ...]) -> tuple[str, tuple[int, ...]]:
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
        return f"${order.index(place) + 1}" + (f"::{kind}" if kind else "")

    def put(found: re.Match[str]) -> str:
        if found["keep"]:
            return found["keep"]
        if found["hint"]:
            return ""
        if listed := found["list"]:
            value = parameter(None if listed == "?" else listed[1:])
            rows = f'SELECT value COLLATE "C" AS value FROM jsonb_array_elements_text(CAST({value} AS jsonb))'
            return f"({rows}) AS {found['alias'] or 'listed'}"
        return parameter(found["name"])

    return _TOKEN.sub(put, sql), tuple(order)


def _stored(value: Any) -> Any:
    if type(value) is str and ("\0" in value or _ESCAPE in value):
        return value.replace(_ESCAPE, _ITSELF).replace("\0", _NUL)
    return value


def readable(value: Any) -> Any:
    """Return a value of a row as it was given."""
    if type(value) is str and _ESCAPE in value:
        return value.replace(_NUL, "\0").replace(_ITSELF, _ESCAPE)
    return value
