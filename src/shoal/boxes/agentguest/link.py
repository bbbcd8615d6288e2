"""The way from an agent in a child to its runtime: every verb of its context is one ``call`` frame."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.faults import rebuild_error
from shoal.boxes.guest.channel import Channel
from shoal.boxes.pack import packed
from shoal.errors import MessageTooLargeError, PayloadError
from shoal.kernel.context import TAKING, convert_result, current_invocation
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.kernel.trace import current_span

__all__ = ["WireLink"]

_UNSENT = 1 << 20  # bytes that wait for the runtime before further calls wait as well


class WireLink:
    """The child's Link. At most ``in_flight`` calls are open at once; more wait here."""

    def __init__(self, channel: Channel, send: Callable[[Any], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._channel = channel
        self._send = send
        self._max_message = 10 * 1024 * 1024
        self._places = asyncio.Semaphore(256)
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[wire.Result]] = {}
        self._taken: list[int] = []  # calls whose mail the agent has, and the runtime has not heard so
        self._watched: set[str | None] = set()
        self._stopping: set[str | None] = set()

    def bound(self, max_message: int, in_flight: int) -> None:
        """Set the limits."""
        self._max_message = max_message
        self._places = asyncio.Semaphore(in_flight)

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb at the runtime."""
        if threading.get_ident() == self._thread:
            return self._call(verb, invocation_id, args)
        return self._cross(verb, invocation_id, args)

    async def _cross(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Any:
        """Call from a thread with an event loop of its own: the call is made on the channel's loop."""
        taken: list[int] = []
        crossing = asyncio.run_coroutine_threadsafe(self._call(verb, invocation_id, args, taken), self._loop)
        try:
            value = await asyncio.wrap_future(crossing)
        except asyncio.CancelledError:
            self._loop.call_soon_threadsafe(self._give_up, taken)
            raise
        if taken:
            self._loop.call_soon_threadsafe(self._taken.extend, taken)
        return value

    def _give_up(self, numbers: list[int]) -> None:
        for number in numbers:
            self._send(wire.Uncall(id=number))

    async def _call(
        self, verb: str, invocation_id: str | None, args: Mapping[str, Any], taken: list[int] | None = None
    ) -> Any:
        """Call on the channel's loop. The number of one that took mail is added to *taken*, or noted as with the agent."""
        plain = _checked(_plain(args))
        if len(plain) > self._max_message + wire.ROOM // 2:
            raise MessageTooLargeError(len(plain), self._max_message, path=verb)
        async with self._places:
            number = next(self._numbers)
            answer = self._open[number] = self._loop.create_future()
            had, self._taken[:] = tuple(self._taken), ()
            span = current_span.get()
            encoded: Any = msgspec.Raw(plain)
            self._send(wire.Call(id=number, verb=verb, invocation=invocation_id, args=encoded, taken=had, span=span))
            try:
                result = await answer
            except asyncio.CancelledError:
                self._send(wire.Uncall(id=number))
                raise
            finally:
                del self._open[number]
        if result.error is not None:
            raise rebuild_error(result.error)
        if verb in TAKING and result.data:
            (self._taken if taken is None else taken).append(number)
        return convert_result(verb, result.data)

    def answered(self, record: wire.Result) -> None:
        """Take the answer to a call."""
        answer = self._open.get(record.id)
        if answer is not None and not answer.done():
            answer.set_result(record)

    def metric(self, kind: str, name: str, value: float) -> None:
        """Note a number of the agent's own."""
        self._post(wire.Metric(kind=kind, name=name, value=value))

    def is_stopping(self) -> bool:
        """Tell whether the agent, its runtime or the present task is to end."""
        invocation = current_invocation.get()
        key = None if invocation is None else invocation.invocation_id
        if threading.get_ident() == self._thread:
            self._channel.read_now()  # a coroutine that never awaits learns it here
        if key not in self._watched:
            self._watched.add(key)
            self._post(wire.Watch(invocation=key))
        return not self._stopping.isdisjoint((None, key))

    def stopping(self, record: wire.Stopping) -> None:
        """Learn that an invocation, or (None) all of the agent, is to end."""
        self._stopping.add(record.invocation)

    def forget(self, invocation_id: str) -> None:
        """Keep nothing of an invocation that has ended."""
        self._watched.discard(invocation_id)
        self._stopping.discard(invocation_id)

    def _post(self, record: Any) -> None:
        if threading.get_ident() == self._thread:
            self._send(record)
        else:
            self._loop.call_soon_threadsafe(self._send, record)


def _checked(args: dict[str, Any]) -> bytes:
    """Return the arguments as JSON. Raises PayloadError, which names the one that is none."""
    try:
        return checked(args, "args")[1]
    except PayloadError:
        return msgspec.json.encode({name: checked(value, name)[0] for name, value in args.items()})


def _plain(args: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the arguments that are records or times into JSON; the others are as the agent gave them, right or wrong."""
    plain = {name: msgspec.to_builtins(value) if name in wire.ARGUMENT_TYPES else value for name, value in args.items()}
    if callable(args.get("program")):  # of a tool: the runtime passes it on to another child, unopened
        plain["program"] = packed(args["program"], str(args.get("isolation")))
    if isinstance(args.get("message"), AgentMessage):
        plain["message"]["data"] = None  # what was asked is known where it came from
    if isinstance(plain.get("options"), dict):
        plain["options"] = _plain(plain["options"])
    return plain
