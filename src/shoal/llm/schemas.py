"""JSON schemas of Python types, and JSON values as those types: what models are told, and what they answer.

Builtin types, ``Literal``, enums, dataclasses, TypedDicts and Structs are msgspec's; pydantic models are their own.
"""

from __future__ import annotations

from typing import Any, get_origin

import msgspec

__all__ = ["convert", "json_schema", "reason_of"]


def json_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a type, references replaced by what they stand for, unless it contains itself.

    Raises TypeError: no JSON value can be of it.
    """
    try:
        schema = msgspec.json.schema(kind, schema_hook=_schema_of)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{_name(kind)} has no JSON schema: {_first_line(error)}") from error
    return _Inlined(schema).whole


def convert(value: Any, kind: Any) -> Any:
    """Return a JSON value as *kind*. Raises ValueError with the reason and the place."""
    try:
        return msgspec.convert(value, kind, dec_hook=_built)
    except msgspec.ValidationError as error:
        raise ValueError(reason_of(error)) from error
    except (ValueError, TypeError, RecursionError) as error:  # a class's own __post_init__
        raise ValueError(_first_line(error)) from error


def reason_of(error: Exception) -> str:
    """Return on one line what is wrong: ``count: Expected `int`, got `str```."""
    text, _, place = str(error).rpartition(" - at `$")
    if not text:
        return _on_one_line(str(error))
    place = place.rstrip("`").removeprefix(".")
    return f"{place}: {_on_one_line(text)}" if place else _on_one_line(text)


def _on_one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "errors.pydantic.dev" not in line]
    return " ".join(line for line in lines if line)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) else repr(kind)[:120]


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate")


def _schema_of(kind: Any) -> dict[str, Any]:
    if _is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    raise NotImplementedError


def _built(kind: Any, value: Any) -> Any:
    plain = get_origin(kind) or kind
    if _is_pydantic(plain):
        return plain.model_validate(value)
    if isinstance(value, plain):
        return value
    raise NotImplementedError


class _Inlined:
    """A schema without references. A type that contains itself stays one, in ``$defs`` of the whole."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._open: list[tuple[str, int]] = []
        self._kept: dict[str, Any] = {}
        self._recursive: set[tuple[str, int]] = set()
        self.whole: dict[str, Any] = self._walk(schema, {})
        if self._kept:
            self.whole = {**self.whole, "$defs": self._kept}

    def _walk(self, schema: Any, defs: dict[str, Any]) -> Any:
        if isinstance(schema, list):
            return [self._walk(item, defs) for item in schema]
        if not isinstance(schema, dict):
            return schema
        defs = schema.get("$defs", defs)  # pydantic brings its own
        found: dict[str, Any] = {}
        if "$ref" in schema:
            found |= self._follow(schema["$ref"].rpartition("/")[2], defs)
        for key, value in schema.items():
            if key in ("$ref", "$defs") or (key == "title" and isinstance(value, str)):
                continue
            if key == "properties":
                found[key] = {name: self._walk(part, defs) for name, part in value.items()}
            else:
                found[key] = value if key in ("default", "enum", "const", "examples") else self._walk(value, defs)
        return found

    def _follow(self, name: str, defs: dict[str, Any]) -> dict[str, Any]:
        place = (name, id(defs[name]))
        if place in self._open:
            self._recursive.add(place)
            return {"$ref": f"#/$defs/{name}"}
        self._open.append(place)
        found: dict[str, Any] = self._walk(defs[name], defs)
        self._open.pop()
        if place in self._recursive:
            self._kept[name] = found
        return found
