"""What travels through PostgreSQL: a notification carries little text, so what is larger is put into a table."""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import NamedTuple

from shoal.bus.broker import Outgoing

__all__ = ["NOTIFY_BYTES", "Parcel", "Postbag", "opened"]

NOTIFY_BYTES = 7999  # the server's limit of a payload
_INLINE_BYTES = 5900  # as base64 within that
_INLINE, _PARCEL = "=", "@"


class Parcel(NamedTuple):
    """A row of ``bus_parcels``."""

    parcel_id: str
    data: bytes


class Postbag:
    """A batch as notifications, in its order, and the parcels that they name. Notes to one receiver share a payload."""

    def __init__(self, batch: Iterable[Outgoing], prefix: str, first: int) -> None:
        """*prefix* and the numbers from *first* on name the parcels."""
        self.targets: list[str | None] = []
        self.payloads: list[str] = []
        self.parcels: list[Parcel] = []
        last: dict[str | None, int] = {}  # where the latest payload of a receiver stands
        for target, data in batch:
            word = self._word(data, f"{prefix}.{first + len(self.parcels)}")
            place = last.get(target)
            if place is not None and len(self.payloads[place]) + 1 + len(word) <= NOTIFY_BYTES:
                self.payloads[place] += f" {word}"
            else:
                last[target] = len(self.payloads)
                self.targets.append(target)
                self.payloads.append(word)

    def _word(self, data: bytes, parcel_id: str) -> str:
        if len(data) <= _INLINE_BYTES:
            return _INLINE + binascii.b2a_base64(data, newline=False).decode()
        self.parcels.append(Parcel(parcel_id, data))
        return _PARCEL + parcel_id


def opened(payload: str) -> list[bytes | str]:
    """Return what a payload says: bytes, or the id of a parcel. Raises ValueError when it says nothing."""
    found: list[bytes | str] = []
    for word in payload.split(" "):
        if word.startswith(_PARCEL):
            found.append(word[1:])
        elif word.startswith(_INLINE):
            found.append(binascii.a2b_base64(word[1:], strict_mode=True))
        else:
            raise ValueError("neither bytes nor a parcel")
    return found
