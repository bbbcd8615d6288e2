"""What a face of many services sees of each: its failures, its end, and how to end it in bounded time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.event import EventFilter, EventType

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.event import Event
    from shoal.kernel.ports import Exit
    from shoal.services.services import Services

__all__ = ["Failure", "Lasting", "check_grace", "end_within"]

CLEAN_UP_SECONDS = 0.5
"""What code has to end after it was cancelled at the end of the grace; then its process is killed."""


def check_grace(grace: float) -> float:
    """Return *grace*. Raises ValueError: it is no number of seconds from 0."""
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not grace >= 0:
        raise ValueError(f"grace must be seconds from 0, not {grace!r:.80}")
    return grace


async def end_within(services: Services, agent_id: str, grace: float) -> Exit | None:
    """Drain a service of this node, kill what has not ended soon after *grace* seconds, and return how its host ended.

    None for one that was not alive. One that is not there is no error.
    """
    node = services.node
    cell = _cell(services, agent_id)

    def kill() -> None:
        late = _cell(services, agent_id)
        if late is not None:
            late.handle.kill()

    timer = node.env.clock.call_later(grace + CLEAN_UP_SECONDS, kill)
    try:
        await services.stop(agent_id, grace)
    finally:
        timer.cancel()
    return cell.handle.exited.result() if cell is not None and cell.handle.exited.done() else None


def _cell(services: Services, agent_id: str) -> Cell | None:
    registration = services.node.registrations.get(agent_id)
    return None if registration is None else registration.cell


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent failed the last time. ``exit_code`` where it had a process that ended."""

    text: str
    exit_code: int | None = None
    output: str = ""


class Lasting:
    """Listens to what becomes of some agents of this node, from their start to their end."""

    def __init__(
        self, services: Services, failed: Callable[[str, Failure], object], gone: Callable[[str], object]
    ) -> None:
        """Both are called with an agent's id: when it has failed, and when it is not known any more."""
        self._node = services.node
        self._failed = failed
        self._gone = gone
        self._told: dict[str, int] = {}  # the last failure of each, by the id of its event
        self._node.at_end(self._node.env.bus.hear("agents", self._changed))

    def mark(self) -> int:
        """Return the point in time that ``add`` takes: before the start of what is to be listened to."""
        return self._node.env.store.events.last_id()

    def add(self, agent_id: str, mark: int) -> None:
        """Listen to this one; what has become of it since *mark* is told at once."""
        self._told[agent_id] = mark
        self._changed(agent_id)

    def _changed(self, agent_id: str) -> None:
        told = self._told.get(agent_id)
        if told is None:
            return
        event = self._last_failure(agent_id)
        if event is not None and event.event_id > told:
            self._told[agent_id] = event.event_id
            self._failed(agent_id, _failure(event))
        if agent_id not in self._node.registrations:
            del self._told[agent_id]
            self._gone(agent_id)

    def _last_failure(self, agent_id: str) -> Event | None:
        wanted = EventFilter(event_type=EventType.AGENT_FAILED, agent_id=agent_id)
        return next(iter(self._node.env.store.events.query(wanted, 1)), None)


def _failure(event: Event) -> Failure:
    details = event.details
    code = details.get("process_exit_code")
    return Failure(
        text=str(details.get("error_message") or event.event_type),
        exit_code=code if isinstance(code, int) else None,
        output=str(details.get("stderr_tail") or details.get("traceback") or ""),
    )
