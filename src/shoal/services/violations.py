"""Every violation of a JSON Schema, by path and in words that do not depend on how the schema was written.

What says the same in two ways (``const`` and an ``enum`` of one, ``"type": [...]`` and ``anyOf`` of types) is told alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time
from typing import Any, NamedTuple

import msgspec

from shoal.errors import MissingExtraError

__all__ = ["Violation", "list_violations", "load_validator", "path_text"]

Violation = dict[str, str]

_WORDS = {
    "minimum": "must be at least {}",
    "maximum": "must be at most {}",
    "exclusiveMinimum": "must be above {}",
    "exclusiveMaximum": "must be below {}",
    "multipleOf": "must be a multiple of {}",
    "minLength": "must have at least {} characters",
    "maxLength": "must have at most {} characters",
    "pattern": "must match {}",
    "minItems": "must have at least {} items",
    "maxItems": "must have at most {} items",
    "minProperties": "must have at least {} keys",
    "maxProperties": "must have at most {} keys",
    "uniqueItems": "must not have an item twice",
    "format": "must be a {}",
}
_FORMATS: dict[str, type] = {"date-time": datetime, "date": date, "time": time}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ALLOWED_CHARS = 500
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]*")


class _Found(NamedTuple):
    """A violation on its way: ``kind`` is the word of JSON Schema."""

    path: tuple[str | int, ...]
    kind: str
    message: str


def load_validator(schema: dict[str, Any]) -> Any:
    """Return what checks values against *schema*.

    Raises:
        ValueError: it is no JSON Schema, or refers to something that is not in it: nothing is ever fetched.
        MissingExtraError: the extra ``schema`` is not installed.
    """
    try:
        from jsonschema import Draft202012Validator, FormatChecker
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import validator_for
        from jsonschema_specifications import REGISTRY
    except ImportError as error:
        raise MissingExtraError("schema", "a JSON Schema") from error
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
    except SchemaError as error:
        place = path_text(error.absolute_path)
        raise ValueError(f"no JSON Schema{f' at {place}' if place else ''}: {error.message[:200]}") from None
    except RecursionError:
        raise ValueError("no JSON Schema: it is nested too deeply") from None
    _check_references(schema, kind)
    checker = FormatChecker(())
    for name, meant in _FORMATS.items():
        checker.checks(name)(_format_check(meant))
    return kind(schema, registry=REGISTRY, format_checker=checker)


def _check_references(schema: dict[str, Any], kind: Any) -> None:
    """Raise ValueError when a reference leads nowhere, which would else be seen with the first request."""
    from jsonschema_specifications import REGISTRY
    from referencing.jsonschema import DRAFT202012, specification_with

    specification = specification_with(str(kind.META_SCHEMA.get("$schema", "")), default=DRAFT202012)
    resource = specification.create_resource(schema)
    base = resource.id() or ""
    _follow(schema, specification, REGISTRY.with_resource(base, resource).crawl().resolver(base), set())


def _follow(schema: Any, specification: Any, resolver: Any, seen: set[int]) -> None:
    """Look up all references in a schema and in what they lead to. *seen*: the ids of schemas that were looked at."""
    from referencing.exceptions import Unresolvable

    if id(schema) in seen or not isinstance(schema, dict):
        return
    seen.add(id(schema))
    for reference in (schema.get(word) for word in _REFERENCES):
        if isinstance(reference, str):
            try:
                found = resolver.lookup(reference)
            except Unresolvable:
                raise ValueError(f"no JSON Schema: the reference {reference!r:.120} leads to nothing in it") from None
            _follow(found.contents, specification, found.resolver, seen)
    for inner in specification.create_resource(schema).subresources():
        _follow(inner.contents, specification, resolver.in_subresource(inner), seen)


def _format_check(kind: type) -> Callable[[object], bool]:
    def fits(value: object) -> bool:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError:
            return not isinstance(value, str)
        return True

    return fits


def list_violations(validator: Any, value: Any) -> list[Violation]:
    """Return all violations, sorted by path, each once."""
    try:
        found = [each for error in validator.iter_errors(value) for each in _told(error)]
    except RecursionError:
        return [{"path": "", "message": "is nested too deeply"}]
    chosen = {each.path for each in found if each.kind == "enum"}
    kept = {(path_text(each.path), each.message) for each in found if not (each.kind == "type" and each.path in chosen)}
    return [{"path": path, "message": message} for path, message in sorted(kept)]


def path_text(path: Iterable[str | int]) -> str:
    """Return a path as text: ``items[2].name``; a key with other characters stands in brackets, too."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{json.dumps(step)}]"
    return text


def _told(error: Any) -> Iterator[_Found]:
    path, kind, rule = tuple(error.absolute_path), str(error.validator), error.validator_value
    if kind == "required":
        missing = [name for name in rule if name not in error.instance]
        yield from (_Found((*path, name), "required", "missing") for name in missing)
    elif kind == "additionalProperties" and rule is False:
        yield from (_Found((*path, name), kind, "unknown key") for name in _unknown(error))
    elif kind in ("anyOf", "oneOf") and error.context:
        yield from _alternatives(error, path)
    elif kind == "type":
        yield _Found(path, kind, _type_message({rule} if isinstance(rule, str) else set(rule), error.instance))
    elif kind in ("enum", "const"):
        yield _Found(path, "enum", _enum_message(rule if kind == "enum" else [rule]))
    elif kind in _WORDS:
        yield _Found(path, kind, _WORDS[kind].format(rule))
    else:
        yield _Found(path, kind, f"does not fit {kind!r} of the schema")


def _unknown(error: Any) -> list[str]:
    schema: Any = error.schema
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [name for name in error.instance if name not in known and not any(re.search(p, name) for p in patterns)]


def _alternatives(error: Any, path: tuple[str | int, ...]) -> Iterator[_Found]:
    """Tell of the alternative that was meant: the one whose kind of value it is. If there is none, tell the kinds."""
    branches: dict[Any, list[Any]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [inner for inner in branches.values() if not any(_is_other_kind(each) for each in inner)]
    if meant:
        best = min(meant, key=lambda inner: (sum(_is_other_tag(each) for each in inner), len(inner)))
        for each in best:
            yield from _told(each)
        return
    types: set[str] = set()
    values: list[Any] = []
    for inner in branches.values():
        enums = [each for each in inner if each.validator in ("enum", "const") and not each.path]
        for each in enums:
            values += each.validator_value if each.validator == "enum" else [each.validator_value]
        for each in inner if not enums else ():
            if each.validator == "type" and not each.path:
                types |= {each.validator_value} if isinstance(each.validator_value, str) else set(each.validator_value)
    if values and types <= {"null"}:
        yield _Found(path, "enum", _enum_message(values + [None] * len(types)))
    elif values:
        yield _Found(path, "enum", f"{_enum_message(values)}, or {_types(types)}")
    else:
        yield _Found(path, "type", _type_message(types, error.instance))


def _is_other_kind(error: Any) -> bool:
    return not error.path and error.validator in ("type", "enum", "const")


def _is_other_tag(error: Any) -> bool:
    return len(error.path) == 1 and error.validator in ("enum", "const")


def _type_message(types: set[str], value: object) -> str:
    return f"must be {_types(types)}, not {_type_name(value)}"


def _types(types: set[str]) -> str:
    return " or ".join(sorted(types, key=lambda name: (name == "null", name)))


def _enum_message(values: list[Any]) -> str:
    texts = sorted({json.dumps(value, ensure_ascii=False) for value in values}, key=lambda text: (text == "null", text))
    return f"must be {'one of ' if len(texts) > 1 else ''}{', '.join(texts)[:_ALLOWED_CHARS]}"


def _type_name(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case _:
            return "object"
