"""The arguments of a tool: their JSON schema out of a function's signature, and the way from JSON to a call."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from shoal.llm.schemas import convert, json_schema
from shoal.llm.toolcontext import ToolContext

__all__ = ["Call", "Signature"]


class Call(NamedTuple):
    """The arguments of one call, converted."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Signature:
    """What a function takes.

    Args:
        fn: the function; a method bound to its object.
        name: of the tool, for error texts.
        docs: descriptions of parameters, by name.
        schema: the JSON schema of the arguments, when somebody else knows it better.

    Attributes:
        takes_context: whether the first parameter is a ToolContext.
        schema: the JSON schema of the arguments.

    Raises:
        TypeError: a parameter that no JSON value can be given to.
    """

    def __init__(
        self, fn: Callable[..., Any], name: str, docs: Mapping[str, str], schema: dict[str, Any] | None = None
    ) -> None:
        parameters = list(_signature(fn, name).parameters.values())
        hints = _hints(fn, name)
        self.takes_context = bool(parameters) and hints.get(parameters[0].name) is ToolContext
        if self.takes_context:
            del parameters[0]
        if any(each.kind is each.VAR_POSITIONAL for each in parameters):
            raise TypeError(f"tool {name!r}: a model names its arguments, so *args cannot be filled")
        self._open = any(each.kind is each.VAR_KEYWORD for each in parameters)
        self._named = [each for each in parameters if each.kind is not each.VAR_KEYWORD]
        self._model = self._struct(hints)
        self.schema = schema if schema is not None else self._schema(name, docs)

    def _struct(self, hints: Mapping[str, Any]) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for each in self._named:
            kind = _described(hints.get(each.name, Any))
            if each.default is each.empty:
                fields.append((each.name, kind))
            else:  # what is not given is left to the function's own default
                fields.append((each.name, kind if kind is Any else kind | msgspec.UnsetType, msgspec.UNSET))
        return msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=not self._open)

    def _schema(self, name: str, docs: Mapping[str, str]) -> dict[str, Any]:
        try:
            schema = json_schema(self._model)
        except TypeError as error:
            raise TypeError(f"tool {name!r}: {self._culprit() or error}") from error
        for each in self._named:
            part = schema["properties"][each.name] = dict(schema["properties"][each.name])
            if each.name in docs:
                part.setdefault("description", docs[each.name])
            if each.default is not each.empty and each.default is not None:
                try:
                    part["default"] = msgspec.to_builtins(each.default, str_keys=True)
                except (TypeError, ValueError):
                    continue  # it can be left out all the same
        return schema

    def _culprit(self) -> str:
        for field in msgspec.structs.fields(self._model):
            try:
                json_schema(field.type)
            except TypeError as error:
                return f"parameter {field.name!r}: {error}"
        return ""

    def bind(self, arguments: Mapping[str, Any]) -> Call:
        """Return the call that JSON arguments make. Raises ValueError with what is wrong."""
        values = convert(dict(arguments), self._model)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for each in self._named:
            value = getattr(values, each.name)
            if value is msgspec.UNSET:
                if each.kind is each.POSITIONAL_ONLY:
                    args.append(each.default)
            elif each.kind is each.POSITIONAL_ONLY:
                args.append(value)
            else:
                kwargs[each.name] = value
        if self._open:
            known = {each.name for each in self._named}
            kwargs |= {name: value for name, value in arguments.items() if name not in known}
        return Call(tuple(args), kwargs)


def _signature(fn: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError) as error:
        raise TypeError(f"tool {name!r}: its signature cannot be read: {error}") from error


def _hints(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    """Return the types of the parameters, whatever *fn* is: a function, a method, a partial, an object that is called."""
    inner = inspect.unwrap(fn)
    while hasattr(inner, "func") and not inspect.isroutine(inner):
        inner = inspect.unwrap(inner.func)
    if not inspect.isroutine(inner) and not isinstance(inner, type):
        inner = type(inner).__call__
    try:
        return typing.get_type_hints(inner, include_extras=True)
    except (NameError, TypeError, AttributeError) as error:
        raise TypeError(f"tool {name!r}: its type hints cannot be read: {error}") from error


def _described(kind: Any) -> Any:
    """Let a text beside a type, as in ``Annotated[int, "the number"]``, and pydantic's ``Field``, be its description."""
    notes = getattr(kind, "__metadata__", ())
    if not notes:
        return kind
    for note in notes:
        text = note if isinstance(note, str) else getattr(note, "description", None)
        if isinstance(text, str) and not isinstance(note, msgspec.Meta):
            kind = Annotated[kind, msgspec.Meta(description=text)]
    return kind
