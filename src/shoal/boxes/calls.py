"""The verbs that a child asks of its runtime: a fixed list, each answered once, never more than a few at once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.faults import to_record
from shoal.boxes.guest.channel import Channel
from shoal.boxes.settings import HandleSettings
from shoal.errors import ProtocolError
from shoal.kernel.context import RESULTS, TAKING, current_invocation
from shoal.kernel.ports import Invocation, RuntimeLink, Timer
from shoal.kernel.runlink import RUN_VERBS
from shoal.kernel.trace import current_span

__all__ = ["VERBS", "Calls"]

VERBS = frozenset(RESULTS) | frozenset(RUN_VERBS) | {
    "subscribe", "unsubscribe", "reply", "ack", "checkpoint", "progress", "lease_release",
}  # fmt: skip
_WATCH_SECONDS = 0.1
_UNREAD = 1 << 20  # bytes that a child leaves unread before nothing more is read from it


class Calls:
    """Carries out the calls of one child on its Link and tells it when it is to stop."""

    def __init__(
        self, link: RuntimeLink, channel: Channel, open_invocations: Mapping[str, Invocation], settings: HandleSettings
    ) -> None:
        """Stop reading from the child while ``settings.at_once`` of its calls are open, or it leaves results unread."""
        self._link = link
        self._channel = channel
        self._invocations = open_invocations
        self._clock = settings.clock
        self._at_once = settings.at_once
        self._open: dict[int, asyncio.Task[None]] = {}
        self._under_way: dict[int, tuple[str | None, Any]] = {}  # mail in results that the child may yet give up
        self._watched: set[str | None] = set()
        self._timer: Timer | None = None
        channel.on_sent = self._go_on

    def call(self, record: wire.Call) -> None:
        """Begin a call. Raises ProtocolError for a verb that is none, or a number that is in use."""
        if record.verb not in VERBS and "." not in record.verb:  # those of wings the link knows
            raise ProtocolError(f"unknown verb {record.verb[:80]!r}")
        if record.id in self._open:
            raise ProtocolError(f"call {record.id} is open already")
        for number in record.taken:
            self._under_way.pop(number, None)
        call = self._open[record.id] = asyncio.get_running_loop().create_task(self._answer(record))
        call.add_done_callback(lambda _: self._ended(record.id))
        if not self._has_room():
            self._channel.pause()

    def _has_room(self) -> bool:
        return len(self._open) < self._at_once and self._channel.unsent <= _UNREAD

    def _go_on(self) -> None:
        if self._has_room():
            self._channel.resume()

    async def _answer(self, record: wire.Call) -> None:
        # An invocation that has ended is nobody's any more: what it left running speaks for itself.
        invocation = record.invocation if record.invocation in self._invocations else None
        result = None
        current_span.set(record.span)  # of this asyncio task, which is the call's own
        try:
            args = _typed(record.args)
            value = await self._link.call(record.verb, invocation, args)
            result = wire.encode_record(wire.Result(id=record.id, data=value))
            if record.verb in TAKING and value:
                self._keep(record.id, invocation, value)
        except asyncio.CancelledError as error:
            if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
            result = wire.encode_record(wire.Result(id=record.id, error=to_record(error)))
        except Exception as error:  # noqa: BLE001 - it is raised in the child
            result = wire.encode_record(wire.Result(id=record.id, error=to_record(error)))
        self._channel.send(result)

    def _ended(self, number: int) -> None:
        del self._open[number]
        self._go_on()

    def _keep(self, number: int, invocation_id: str | None, taken: Any) -> None:
        """Remember what a call took until the child has it; of a child that never says so, only the last ones."""
        self._under_way[number] = (invocation_id, taken)
        if len(self._under_way) > self._at_once:
            del self._under_way[next(iter(self._under_way))]

    def uncall(self, record: wire.Uncall) -> None:
        """Cancel a call that nobody waits for any more; what it took and is under way to the child goes back."""
        if record.id in self._under_way:
            self._link.give_back(*self._under_way.pop(record.id))
            return
        call = self._open.get(record.id)
        if call is not None:
            call.cancel()

    def watch(self, record: wire.Watch) -> None:
        """Tell the child when ``is_stopping`` becomes true in that invocation."""
        if record.invocation is None or record.invocation in self._invocations:
            self._watched.add(record.invocation)
            self._look()

    def _look(self) -> None:
        """Look at what is watched, now and every tenth of a second while anything is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key in list(self._watched):
            if key is not None and key not in self._invocations:
                self._watched.discard(key)
            elif _within(self._invocations.get(key or ""), self._link.is_stopping):
                self._watched.discard(key)
                self._channel.send(wire.encode_record(wire.Stopping(invocation=key)))
        if self._watched:
            self._timer = self._clock.call_later(_WATCH_SECONDS, self._look)

    def close(self) -> list[asyncio.Task[None]]:
        """Cancel all calls; returns those that still have to end."""
        if self._timer is not None:
            self._timer.cancel()
        self._watched.clear()
        for call in self._open.values():
            call.cancel()
        return list(self._open.values())


def _typed(args: dict[str, Any]) -> dict[str, Any]:
    """Give arguments that are records or times their types back. Raises ValueError where they are none."""
    types = wire.ARGUMENT_TYPES
    typed = {name: msgspec.convert(value, types[name]) if name in types else value for name, value in args.items()}
    if isinstance(typed.get("options"), dict):
        typed["options"] = _typed(typed["options"])
    return typed


def _within(invocation: Invocation | None, look: Callable[[], bool]) -> bool:
    def looked() -> bool:
        current_invocation.set(invocation)
        return look()

    return contextvars.copy_context().run(looked)
