"""What requests to the registry say: parameters and bodies, read with every fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from shoal.errors import InfoError, ValidationFailed, nearest
from shoal.services.info import AgentInfo, AgentType
from shoal.services.outsiders import Change, checked_address

__all__ = ["Wanted", "page", "read_ask", "read_change", "read_info", "read_order", "read_wanted"]

PAGE = 100
LARGEST_PAGE = 1_000
LONGEST_SECONDS = 3_600.0
T = TypeVar("T")


class Wanted(msgspec.Struct, frozen=True):
    """What a look-up asks for."""

    words: tuple[str, ...]
    type: str | None
    offset: int
    limit: int


def page(found: Sequence[T], wanted: Wanted) -> Sequence[T]:
    """Return the part of *found* that is asked for."""
    return found[wanted.offset : wanted.offset + wanted.limit]


def read_wanted(given: Mapping[str, str], *, needed: str | None = None, limit: int = PAGE) -> Wanted:
    """Return what the parameters of a look-up ask for; *needed* is the one that has the words. Raises ValidationFailed."""
    faults: list[tuple[str, str]] = []
    words = [word.strip().casefold() for word in given.get(needed or "", "").split(",") if word.strip()]
    if needed is not None and not words:
        faults.append((needed, "missing: capabilities, with commas between them"))
    kind = given.get("type") or None
    if kind is not None and kind not in tuple(AgentType):
        faults.append(("type", f"must be one of {', '.join(AgentType)}, not {kind[:80]!r}"))
    offset = _number(given, "offset", 0, (0, 10**9), faults)
    chosen = _number(given, "limit", limit, (1, LARGEST_PAGE), faults)
    _refuse(faults)
    return Wanted(tuple(dict.fromkeys(words)), kind, offset, chosen)


def _number(
    given: Mapping[str, str], name: str, default: int, bounds: tuple[int, int], faults: list[tuple[str, str]]
) -> int:
    text = given.get(name, str(default))
    low, high = bounds
    if text.isascii() and text.isdecimal() and len(text) < 12 and low <= int(text) <= high:
        return int(text)
    faults.append((name, f"must be a whole number from {low} to {high}, not {text[:80]!r}"))
    return default


def read_info(body: dict[str, Any]) -> tuple[AgentInfo, str | None]:
    """Return what a registration says: an info, and the address at which it is asked. Raises InfoError."""
    faults: list[str] = []
    address = body.pop("address", None)
    try:
        address = checked_address(address)
    except InfoError as error:
        faults += error.faults
    try:
        info = AgentInfo.of(body)
    except InfoError as error:
        raise InfoError([*error.faults, *faults]) from None
    if faults:
        raise InfoError(faults)
    return info, address


def read_change(body: dict[str, Any]) -> Change:
    """Return what an agent tells with its renewal. Raises ValidationFailed."""
    try:
        return msgspec.convert(body, Change)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"state, load, health: {error}", [{"path": "", "message": str(error)}]) from None


def read_ask(body: dict[str, Any]) -> dict[str, Any]:
    """Return the payload of a request and how it is asked, by the names of ``services.request``. Raises ValidationFailed."""
    faults = _unknown(body, ("payload", "timeout", "key", "idempotent"))
    if not isinstance(body.get("payload"), dict):
        faults.append(("payload", "must be an object"))
    seconds = body.get("timeout")
    if seconds is not None and not (_is_number(seconds) and 0 < seconds <= LONGEST_SECONDS):
        faults.append(("timeout", f"must be seconds above 0, to {LONGEST_SECONDS:g}"))
    if not isinstance(body.get("idempotent", False), bool):
        faults.append(("idempotent", "must be true or false"))
    _refuse(faults)
    return body


def read_order(body: dict[str, Any]) -> tuple[str, Any]:
    """Return the action of an order and its data. Raises ValidationFailed."""
    faults = _unknown(body, ("action", "data"))
    action = body.get("action")
    if not isinstance(action, str) or not action:
        faults.append(("action", "must be the name of a control action"))
    _refuse(faults)
    return str(action), body.get("data")


def _unknown(body: Mapping[str, Any], known: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(key[:80], f"unknown key{nearest(key, known)}") for key in body if key not in known]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refuse(faults: list[tuple[str, str]]) -> None:
    if faults:
        listed = [{"path": path, "message": message} for path, message in faults]
        raise ValidationFailed("; ".join(f"{path}: {message}" for path, message in faults), listed)
