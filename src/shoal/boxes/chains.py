"""Chains of questions, and circles of waits."""

from __future__ import annotations

from shoal.boxes.members import Request

__all__ = ["MAX_CHAIN", "circle_of", "waiting_in"]

MAX_CHAIN = 64
"""So long may a chain of questions get."""


def waiting_in(request: Request) -> int | None:
    """Return the send of the target that waits in this chain, the latest: the question is handled on top of it."""
    above = request.parent
    while above is not None:
        if above.sender is request.target and above.open:
            return above.send_id
        above = above.parent
    return None


def circle_of(request: Request) -> list[str] | None:
    """Return the names on the circle of waits that this question would close, or None."""
    names = [request.sender.name]
    here = request.target
    for _ in range(MAX_CHAIN * 16):
        names.append(here.name)
        if here is request.sender:
            return names
        waits = here.blocked_on()
        if waits is None:
            return None
        here = waits.target
    return None
