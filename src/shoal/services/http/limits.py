"""How much one caller may ask of the registry."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

from starlette.requests import ClientDisconnect, Request

from shoal.errors import RequestError
from shoal.kernel.ports import Clock
from shoal.services import codes

__all__ = ["BODY_BYTES", "Rates", "is_local", "is_loopback", "neighbourhood", "read_body"]

BODY_BYTES = 1024 * 1024
READ_AWAY_BYTES = 8 * BODY_BYTES
"""So much of a body that is too large is read, so that who sends it can hear that it is."""
BODY_SECONDS = 30.0
WRITES_A_SECOND = 100
READS_A_SECOND = 2_000
SLOTS_A_SECOND = 10
MOST_ADDRESSES = 10_000


class Rates:
    """Counts requests by address: no more in any second than there may be. Only what was admitted counts."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, bool], deque[list[int]]] = OrderedDict()  # [slot of time, how many]

    def admit(self, address: str, *, write: bool, now: float) -> bool:
        """Tell whether another request from *address* is within the limit, and count it if it is.

        Args:
            address: where it comes from; one network of IPv6 (/64) is one caller, who has all its addresses.
            write: it may change something.
            now: seconds on a monotonic clock.
        """
        key, slot = (neighbourhood(address), write), int(now * SLOTS_A_SECOND)
        counts = self._counts.setdefault(key, deque())
        self._counts.move_to_end(key)
        if len(self._counts) > MOST_ADDRESSES:
            self._counts.popitem(last=False)
        while counts and counts[0][0] < slot - SLOTS_A_SECOND:
            counts.popleft()
        if sum(count for _, count in counts) >= (WRITES_A_SECOND if write else READS_A_SECOND):
            return False
        if counts and counts[-1][0] == slot:
            counts[-1][1] += 1
        else:
            counts.append([slot, 1])
        return True


async def read_body(request: Request, clock: Clock) -> bytes:
    """Return the body of a request. Raises RequestError: TOO_LARGE, INVALID_FORMAT: it did not come whole, and in time."""
    parts: list[bytes] = []
    size = 0
    try:
        async with clock.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > READ_AWAY_BYTES:
                    break
                if size <= BODY_BYTES:
                    parts.append(part)
    except (ClientDisconnect, TimeoutError):
        raise RequestError(codes.INVALID_FORMAT, f"the body did not come whole within {BODY_SECONDS:g} s") from None
    if size > BODY_BYTES:
        raise RequestError(codes.TOO_LARGE, f"a body may have {BODY_BYTES} bytes at most")
    return b"".join(parts)


def neighbourhood(address: str) -> str:
    """Return what an address counts as: an IPv4 address as itself, one of IPv6 as its network of 64 bits."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))


def is_loopback(address: str) -> bool:
    """Tell whether an IP address is one of this machine alone; text that is none is not."""
    try:
        found = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def is_local(request: Request) -> bool:
    """Tell whether a request without a token comes from a program on this machine, and from no page of the network.

    A browser on this machine reaches loopback too. A page of elsewhere is told by its ``Origin``, or, where its name was
    made to mean loopback (DNS rebinding), by the ``Host``.
    """
    client = request.client
    if client is not None and not is_loopback(client.host):
        return False
    origin = request.headers.get("origin")
    names = [request.headers.get("host", ""), *([] if origin is None else [origin.rpartition("//")[2]])]
    return all(_is_own_name(name) for name in names)


def _is_own_name(authority: str) -> bool:
    name = authority.partition("]")[0] if authority.startswith("[") else authority.partition(":")[0]
    return is_loopback(name) or name.lower() == "localhost"
