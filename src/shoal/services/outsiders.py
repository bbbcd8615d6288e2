"""What is kept of an agent registered from outside, and what this node has seen of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from shoal.errors import InfoError
from shoal.kernel.event import EventType, Fact
from shoal.services.info import AgentInfo, AgentRecord

__all__ = ["Change", "Outsider", "Seen", "checked_address", "merged", "news"]

ADDRESS_CHARS = 200
_ADDRESS = re.compile(f"[!-9;-~]{{1,{ADDRESS_CHARS}}}")
NAME_DIGITS = 8
State = Literal["running", "paused", "draining"]
Load = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Health = Annotated[int, msgspec.Meta(ge=0, le=100)]


class Outsider(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored: *owner* is the digest of the token that owns the record, *ttl* the seconds of a lease."""

    uuid: str
    info: AgentInfo
    address: str | None
    owner: str
    ttl: float
    registered_at: datetime
    renewed_at: datetime
    state: State = "running"
    load: Load = 0.0
    health: Health = 100

    @property
    def lease_expires_at(self) -> datetime:
        """When its lease ends on the clock of who wrote it."""
        return self.renewed_at + timedelta(seconds=self.ttl)


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent may tell of itself when it renews its lease; None is as it was."""

    state: State | None = None
    load: Load | None = None
    health: Health | None = None

    def told(self) -> dict[str, Any]:
        """Return what it tells."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


class Seen:
    """A record as this node knows it: its version, when that was first seen (monotonic), and how it is told."""

    __slots__ = ("at", "outsider", "record", "version", "words")

    def __init__(self, outsider: Outsider, version: int, at: float) -> None:
        self.outsider = outsider
        self.version = version
        self.at = at
        info = outsider.info
        self.words = frozenset(info.capabilities)
        self.record = AgentRecord(
            uuid=outsider.uuid,
            name=info.name,
            instance=info.name if info.exclusive else f"{info.name}/{outsider.uuid[-NAME_DIGITS:]}",
            type=info.type,
            capabilities=info.capabilities,
            version=info.version,
            address=outsider.address,
            state=outsider.state,
            load=outsider.load,
            health=outsider.health,
            request_schema=info.request_schema,
            metadata=info.metadata,
            registered_at=outsider.registered_at,
            last_seen=outsider.renewed_at,
            lease_expires_at=outsider.lease_expires_at,
        )

    def alive(self, now: float) -> bool:
        """Tell whether its lease lasts: this node saw it renewed no longer ago than a lease is long."""
        return now - self.at <= self.outsider.ttl

    def serves(self, *, healthy: bool) -> bool:
        """Tell whether it can be found."""
        record = self.record
        return record.type.answers and record.state == "running" and bool(record.health or not healthy)


def news(kind: EventType, record: AgentRecord) -> Fact:
    """Return the event that tells of a change of an agent that no node has."""
    details: dict[str, object] = {"name": record.name, "instance": record.instance}
    if kind is not EventType.SERVICE_LEFT:
        details["state"] = record.state
    return Fact(event_type=kind, agent_id=record.uuid, details=details)


def checked_address(value: Any) -> str | None:
    """Return the address on the bus at which an agent says that it is asked. Raises InfoError.

    Those with ``:`` are the runtimes' own.
    """
    if value is None:
        return None
    if isinstance(value, str) and _ADDRESS.fullmatch(value):
        return value
    raise InfoError(
        f"address: must be ASCII text of 1 to {ADDRESS_CHARS} characters without blanks and colons, not {value!r:.80}"
    )


def merged(here: Sequence[AgentRecord], outside: Sequence[AgentRecord]) -> list[AgentRecord]:
    """Return a list of the records of agents of nodes and from outside, by registration."""
    if not outside:
        return list(here)
    return sorted([*here, *outside], key=lambda record: (record.registered_at, record.uuid))
