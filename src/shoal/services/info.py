"""What a service says of itself, and what the directory knows of each of its instances."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from shoal.errors import InfoError, PayloadError, nearest
from shoal.kernel.payload import checked
from shoal.services.schema import json_schema

__all__ = ["AgentInfo", "AgentRecord", "AgentType"]

NAME_CHARS = 90
WORD_CHARS = 100
WORDS = 64
SCHEMAS = ("request_schema", "response_schema", "control_schema")


class AgentType(StrEnum):
    """Whether a service answers requests, asks others, or both."""

    SERVER = "server"
    CLIENT = "client"
    HYBRID = "hybrid"

    @property
    def answers(self) -> bool:
        """Tell whether it can be found and asked."""
        return self is not AgentType.CLIENT

    @property
    def asks(self) -> bool:
        """Tell whether it may send requests."""
        return self is not AgentType.SERVER


class AgentInfo(msgspec.Struct, frozen=True):
    """What a service says of itself.

    Attributes:
        name: of the service, 1 to 90 characters; several instances may share it.
        capabilities: 1 to 64 words of at most 100 characters, by which it is found; kept trimmed, in small letters,
            each once.
        type: ``server`` (answers), ``client`` (asks) or ``hybrid``.
        version: of the service, text.
        request_schema, response_schema, control_schema: what requests, answers and a changed configuration must be:
            a JSON Schema, a msgspec type or a pydantic model.
        metadata: JSON values by name.
        control_from: which other agents may control it: names, or patterns with ``*``.
        exclusive: whether one living instance is all there may be.

    Raises:
        InfoError: with every fault.
    """

    name: str
    capabilities: tuple[str, ...]
    type: AgentType = AgentType.HYBRID
    version: str = "1"
    request_schema: Any = None
    response_schema: Any = None
    control_schema: Any = None
    metadata: dict[str, Any] = {}
    control_from: tuple[str, ...] = ()
    exclusive: bool = False

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        faults, read = _read(given)
        if faults:
            raise InfoError(faults)
        for name, value in read.items():
            msgspec.structs.force_setattr(self, name, value)

    @classmethod
    def of(cls, value: object) -> AgentInfo:
        """Return what a service's ``info()`` gave: an AgentInfo as it is, a dict with its keys as one.

        Raises:
            InfoError: with every fault: missing keys, unknown keys, wrong values.
        """
        if isinstance(value, AgentInfo):
            return value
        if not isinstance(value, Mapping):
            raise InfoError(f"info() must return an AgentInfo or a dict, not {value!r:.80}")
        known = cls.__struct_fields__
        faults = [f"{key!r:.80}: unknown key{nearest(str(key), known)}" for key in value if key not in known]
        missing = [name for name in ("name", "capabilities") if name not in value]
        faults += [f"{name}: missing" for name in missing]
        found, read = _read({name: value[name] for name in known if name in value})
        if faults or found:
            raise InfoError([*faults, *found])
        return cls(**read)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON values, the schemas as JSON Schemas; ``of`` makes an AgentInfo of it again."""
        schemas = {name: None if kind is None else json_schema(kind) for name, kind in self._schemas()}
        data: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(self, **schemas))
        return data

    def _schemas(self) -> Iterator[tuple[str, Any]]:
        for name in SCHEMAS:
            yield name, getattr(self, name)

    def has(self, capability: str) -> bool:
        """Tell whether it has the word, without regard to case and to blanks around it."""
        return capability.strip().casefold() in self.capabilities


class AgentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One instance of a service as the directory knows it; ``record["name"]`` reads as ``record.name``.

    Attributes:
        uuid: the instance's id.
        name, type, capabilities, version, request_schema, metadata: as its AgentInfo says.
        instance: its unique name, such as ``worker/3f9c2a1b``.
        node: the node on which it runs.
        pid: its process, where it has one of its own.
        address: where it is asked, when it was registered from outside.
        state: the agent's status, or ``draining``.
        load: requests waiting or running, over how many it runs at once.
        health: 0 to 100.
        request_schema: as JSON Schema, whatever it was made of.
        registered_at, last_seen: aware UTC.
        lease_expires_at: aware UTC; the lease of its node, which all agents of a node share (``lease_seconds`` of its
            runtime), or its own when it was registered from outside.
        started_at: when its present life began, aware UTC; a later one than before tells that it was started again.
    """

    uuid: str
    name: str
    instance: str
    type: AgentType = AgentType.HYBRID
    capabilities: tuple[str, ...] = ()
    version: str = "1"
    node: str | None = None
    pid: int | None = None
    address: str | None = None
    state: str = "running"
    load: float = 0.0
    health: int = 100
    request_schema: Any = None
    metadata: dict[str, Any] = {}
    registered_at: datetime
    last_seen: datetime
    lease_expires_at: datetime | None = None
    started_at: datetime | None = None

    def __getitem__(self, key: str) -> Any:
        """Return the field *key*. Raises KeyError for any other word."""
        if key not in self.__struct_fields__:
            raise KeyError(key)
        return getattr(self, key)


def _read(given: Mapping[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """Return all faults of *given*, and its values as they are kept."""
    faults: list[str] = []
    read: dict[str, Any] = {}
    for name, value in given.items():
        reader = _READERS.get(name)
        if reader is None:
            read[name] = value
            continue
        try:
            read[name] = reader(value)
        except ValueError as error:
            faults.append(f"{name}: {error}")
    return faults, read


def _name(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= NAME_CHARS:
        raise ValueError(f"must be text of 1 to {NAME_CHARS} characters, not {value!r:.120}")
    return _sendable(value.strip())


def _version(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= WORD_CHARS:
        raise ValueError(f"must be text of 1 to {WORD_CHARS} characters, not {value!r:.120}")
    return _sendable(value)


def _capabilities(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple, set, frozenset)) or not 1 <= len(value) <= WORDS:
        count = f"{len(value)} of them" if isinstance(value, (list, tuple, set, frozenset)) else f"{value!r:.80}"
        raise ValueError(f"must be a list of 1 to {WORDS} words, not {count}")
    words = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
    wrong = [word for word in words if not isinstance(word, str) or not 1 <= len(word.strip()) <= WORD_CHARS]
    if wrong:
        shown = ", ".join(f"{word!r:.40}" for word in wrong[:5])
        raise ValueError(f"each must be text of 1 to {WORD_CHARS} characters, not {shown}")
    return tuple(dict.fromkeys(_sendable(word.strip().casefold()) for word in words))


def _type(value: Any) -> AgentType:
    try:
        return AgentType(value)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(AgentType)}, not {value!r:.80}") from None


def _metadata(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a dict, not {value!r:.80}")
    try:
        copy, _ = checked(dict(value), "metadata")
    except PayloadError as error:
        raise ValueError(str(error).removeprefix("metadata ")) from None
    assert isinstance(copy, dict)
    return copy


def _control_from(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise ValueError(f"must be a list of names or patterns, not {value!r:.80}")
    return tuple(value)


def _exclusive(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {value!r:.80}")
    return value


def _schema(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        try:
            checked(value, "it")
        except PayloadError as error:
            raise ValueError(str(error)) from None
    json_schema(value)
    return value


def _sendable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has a lone surrogate") from None
    return text


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "version": _version,
    "capabilities": _capabilities,
    "type": _type,
    "metadata": _metadata,
    "control_from": _control_from,
    "exclusive": _exclusive,
    **dict.fromkeys(SCHEMAS, _schema),
}
