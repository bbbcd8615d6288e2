"""What a request, an answer or a configuration must be: a JSON Schema, a msgspec type or a pydantic model.

A good value against a type costs one conversion. Only a bad one is looked at again, through the JSON Schema of the type,
so that every violation is told, in the same words for the three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from shoal.errors import MissingExtraError, ValidationFailed
from shoal.kernel.payload import encode
from shoal.services.violations import Violation, list_violations, load_validator, path_text

__all__ = ["Schema", "json_schema"]

_MSGSPEC_FORMATS = {
    "Invalid RFC3339 encoded datetime": "must be a date-time",
    "Invalid RFC3339 encoded date": "must be a date",
    "Invalid RFC3339 encoded time": "must be a time",
}
_TOLD = 5


def json_schema(kind: Any) -> dict[str, Any]:
    """Return *kind* as JSON Schema: one as it is, a type's or a model's own.

    Raises ValueError: it is none of these, or its values cannot be JSON.
    """
    if isinstance(kind, dict):
        return kind
    if _is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema()
        return schema
    if kind is None or isinstance(kind, (str, bytes, int, float, list, tuple, set)):
        raise ValueError(f"must be a JSON Schema (a dict), a msgspec type or a pydantic model, not {kind!r:.80}")
    try:
        return msgspec.json.schema(kind)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{kind!r:.80} has no JSON Schema: {str(error)[:200]}") from error


class Schema:
    """A schema, ready to check values.

    Args:
        kind: a JSON Schema (a dict; draft 2020-12 where it does not say which), any type that msgspec converts to, or a
            pydantic model. A type and a model are strict: text is no number.

    Attributes:
        json: it as JSON Schema.

    Raises:
        ValueError: it is no schema, or refers to something outside of it: nothing is ever fetched.
        MissingExtraError: a JSON Schema needs the extra ``schema``.
    """

    __slots__ = ("_convert", "json")

    def __init__(self, kind: Any) -> None:
        self.json = json_schema(kind)
        if isinstance(kind, dict):
            self._convert = _plain(kind)
        elif _is_pydantic(kind):
            self._convert = _pydantic(kind, _Lister(self.json))
        else:
            self._convert = _msgspec(kind, _Lister(self.json))

    def convert(self, value: Any) -> Any:
        """Return a JSON value as the type or model that the schema was made of; with a JSON Schema as it is.

        Raises:
            ValidationFailed: it does not fit; ``details`` lists every violation, by path.
        """
        found = self._convert(value)
        if isinstance(found, _Violations):
            told = [f"{v['path'] or 'the whole'}: {v['message']}" for v in found.listed[:_TOLD]]
            more = len(found.listed) - _TOLD
            raise ValidationFailed("; ".join(told) + (f"; and {more} more" if more > 0 else ""), found.listed)
        return found

    def violations(self, value: Any) -> list[Violation]:
        """Return every violation as ``{"path": ..., "message": ...}``, sorted by path; none when *value* fits.

        A path is ``items[2].name``; that of the value itself is empty. No message repeats what was sent.
        """
        found = self._convert(value)
        return found.listed if isinstance(found, _Violations) else []


class _Violations:
    """What stands for a value that does not fit."""

    __slots__ = ("listed",)

    def __init__(self, listed: list[Violation]) -> None:
        self.listed = listed


class _Lister:
    """Lists the violations of a type's JSON Schema, together with what only the type itself knows.

    Without the extra ``schema`` there is only the latter.
    """

    __slots__ = ("_json", "_validator")

    def __init__(self, schema: dict[str, Any]) -> None:
        self._json = schema
        self._validator: Any = None

    def all(self, value: Any, own: Iterable[Violation]) -> _Violations:
        try:
            self._validator = self._validator or load_validator(self._json)
        except MissingExtraError:
            return _Violations(list(own))
        found = list_violations(self._validator, value)
        for each in own:
            if not any(_overlap(each["path"], known["path"]) for known in found):
                found.append(each)
        return _Violations(sorted(found, key=lambda each: each["path"]))


def _overlap(one: str, other: str) -> bool:
    return _within(one, other) or _within(other, one)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or not outer or inner.startswith((f"{outer}.", f"{outer}["))


def _plain(schema: dict[str, Any]) -> Callable[[Any], Any]:
    validator = load_validator(schema)

    def convert(value: Any) -> Any:
        found = list_violations(validator, value)
        return _Violations(found) if found else value

    return convert


def _msgspec(kind: Any, lister: _Lister) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            return lister.all(value, [_own(error), *_by_field(value, kind)])

    return convert


def _own(error: msgspec.ValidationError, field: str = "") -> Violation:
    text, _, place = str(error).rpartition(" - at `$")
    path = place.rstrip("`").partition("[...]")[0] if text else ""  # [...]: under some key
    message = text or str(error)
    return {"path": f"{field}{path}".removeprefix("."), "message": _MSGSPEC_FORMATS.get(message, message)}


def _by_field(value: Any, kind: Any) -> Iterator[Violation]:
    """Look at each field of a Struct alone: msgspec tells the first fault only, and its JSON Schema knows no times."""
    if not (isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return
    for field in msgspec.structs.fields(kind):
        if field.encode_name in value:
            try:
                msgspec.convert(value[field.encode_name], field.type)
            except msgspec.ValidationError as error:
                yield _own(error, path_text([field.encode_name]))


def _is_pydantic(kind: Any) -> bool:
    return isinstance(kind, type) and hasattr(kind, "model_json_schema") and hasattr(kind, "model_validate_json")


def _pydantic(kind: Any, lister: _Lister) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        # Strict, since the service works with what was sent; and from JSON, where a date is a text even then.
        try:
            return kind.model_validate_json(encode(value), strict=True)
        except ValueError as error:
            faults = getattr(error, "errors", None)
            if faults is None:
                raise
            told = faults(include_url=False, include_context=False, include_input=False)
            return lister.all(value, [{"path": path_text(fault["loc"]), "message": fault["msg"]} for fault in told])

    return convert
