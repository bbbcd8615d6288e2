"""Groups of agents."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from shoal.errors import AgentNotFoundError, GroupError, nearest
from shoal.kernel.clock import epoch
from shoal.kernel.event import EventType, Fact

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["change", "create", "delete", "leave_all", "members", "name_at_registration"]

_ADD = """INSERT INTO group_members (name, agent_id, position, registered)
    VALUES (:name, :agent_id, (SELECT coalesce(max(position), 0) + 1 FROM group_members WHERE name = :name),
        :registered)
    ON CONFLICT (name, agent_id) DO NOTHING"""


def create(cx: Transaction, name: str, agent_ids: tuple[str, ...], now: datetime) -> None:
    """Create a group; see ``AgentStore.create_group``."""
    if _exists(cx, name):
        raise ValueError(f"group {name[:80]!r} exists already")
    for agent_id in agent_ids:
        _check_agent(cx, agent_id)
    cx.execute("INSERT INTO groups (name, created_at) VALUES (?, ?)", (name, epoch(now)))
    for agent_id in agent_ids:
        cx.execute(_ADD, {"name": name, "agent_id": agent_id, "registered": 0})
    _tell(cx, name, "created", now, members=list(agent_ids))


def delete(cx: Transaction, name: str, now: datetime) -> None:
    """Delete a group; see ``AgentStore.delete_group``."""
    _check_group(cx, name)
    cx.execute("DELETE FROM group_members WHERE name = ?", (name,))
    cx.execute("DELETE FROM groups WHERE name = ?", (name,))
    _tell(cx, name, "deleted", now)


def change(cx: Transaction, name: str, agent_id: str, member: bool, now: datetime) -> None:
    """Put an agent in or out of a group; see ``AgentStore.change_group``."""
    _check_group(cx, name)
    _check_agent(cx, agent_id)
    if member:
        changed = cx.execute(_ADD, {"name": name, "agent_id": agent_id, "registered": 0})
        # Whoever is put in by hand stays in, also when the next registration does not name the group.
        cx.execute("UPDATE group_members SET registered = 0 WHERE name = ? AND agent_id = ?", (name, agent_id))
    else:
        changed = cx.execute("DELETE FROM group_members WHERE name = ? AND agent_id = ?", (name, agent_id))
    if changed:
        _tell(cx, name, "joined" if member else "left", now, agent_id=agent_id)


def name_at_registration(cx: Transaction, agent_id: str, names: Iterable[str], now: datetime) -> None:
    """Make an agent a member of exactly *names*, and of those that it was put in by hand."""
    cx.execute("DELETE FROM group_members WHERE agent_id = ? AND registered = 1", (agent_id,))
    for name in names:
        created = cx.execute(
            "INSERT INTO groups (name, created_at) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, epoch(now))
        )
        cx.execute(_ADD, {"name": name, "agent_id": agent_id, "registered": 1})
        if created:
            _tell(cx, name, "created", now, members=[agent_id])


def leave_all(cx: Transaction, agent_id: str) -> None:
    """Take an agent out of all groups."""
    cx.execute("DELETE FROM group_members WHERE agent_id = ?", (agent_id,))


def members(cx: Reader) -> dict[str, list[str]]:
    """Return the ids of each group's members in order of joining, by group."""
    found: dict[str, list[str]] = {name: [] for (name,) in cx.rows("SELECT name FROM groups ORDER BY name")}
    for name, agent_id in cx.rows("SELECT name, agent_id FROM group_members ORDER BY name, position"):
        found[name].append(agent_id)
    return found


def _exists(cx: Reader, name: str) -> bool:
    return cx.one("SELECT 1 FROM groups WHERE name = ?", (name,)) is not None


def _check_group(cx: Reader, name: str) -> None:
    if not _exists(cx, name):
        known = [known for (known,) in cx.rows("SELECT name FROM groups")]
        raise GroupError(f"group {name[:80]!r} not found{nearest(name, known)}")


def _check_agent(cx: Reader, agent_id: str) -> None:
    if cx.one("SELECT 1 FROM agents WHERE agent_id = ?", (agent_id,)) is None:
        raise AgentNotFoundError(agent_id, (name for (name,) in cx.rows("SELECT name FROM agents")))


def _tell(
    cx: Transaction, name: str, what: str, now: datetime, *, agent_id: str | None = None, members: object = None
) -> None:
    details: dict[str, object] = {"group": name, "change": what}
    if members is not None:
        details["members"] = members
    cx.emit(Fact(event_type=EventType.GROUP_CHANGED, agent_id=agent_id, details=details), now)
