"""Waits that can never end. Within a node they are found when they begin; across nodes by probes along the waits.

The rule is edge chasing (Chandy, Misra, Haas 1983): follow who waits for whom; a path that comes back is a deadlock.
Only message lanes can be waited for without end: a task that waits holds no lane.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from shoal.kernel.message import AgentMessage

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry

__all__ = ["blocker", "find_cycle", "follow"]


def blocker(cell: Cell, message_id: str) -> Entry | None:
    """Return the invocation that must end before *cell* answers this message: its handler, or whoever holds the
    lane."""
    for entry in cell.entries.values():
        if entry.message is not None and entry.message.message_id == message_id:
            return entry
    return cell.lane.blocker


def follow(cell: Cell, message_id: str) -> Iterator[tuple[Entry, AgentMessage | None]]:
    """Yield, as far as this node knows, each invocation on the way that this message waits for, and what it
    waits for."""
    seen: set[str] = set()
    here: Cell | None = cell
    while here is not None:
        entry = blocker(here, message_id)
        if entry is None or entry.invocation.invocation_id in seen:
            return
        seen.add(entry.invocation.invocation_id)
        request = entry.waits_for
        yield entry, request
        if request is None:
            return
        message_id = request.message_id
        here = here.post.cells.get(request.recipient_ids[0])


def find_cycle(cell: Cell, message: AgentMessage) -> tuple[str, ...] | None:
    """Return the names on the circle that a wait of *message*'s chain for *cell* would close, or None."""
    names = [cell.name]
    for entry, request in follow(cell, message.message_id):
        if entry.invocation.invocation_id in message.chain:
            return (entry.cell.name, *names)
        if request is None:
            return None
        target = cell.post.cells.get(request.recipient_ids[0])
        if target is None:
            return None
        names.append(target.name)
    return None
