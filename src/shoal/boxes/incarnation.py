"""One life of a box: a child, from its hello to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.boxes import boxwire, wire
from shoal.boxes.backlog import Backlog
from shoal.boxes.child import ChildProcess
from shoal.boxes.data import decoded
from shoal.boxes.errands import Errands
from shoal.boxes.exitcodes import program_code
from shoal.boxes.faults import program_error, to_record
from shoal.boxes.heartbeat import Heartbeat
from shoal.boxes.members import Member, Parcel, member_of
from shoal.boxes.replying import Replies
from shoal.boxes.router import Router
from shoal.boxes.spec import BoxLimits
from shoal.boxes.wire import NOTHING, ErrorRecord
from shoal.errors import (
    BoxNotRunningError,
    BoxStoppedError,
    DeadAgentError,
    PayloadError,
    ProtocolError,
    ShoalError,
)
from shoal.kernel.ports import Clock

__all__ = ["Incarnation", "Surroundings"]

_MIB = 1 << 20
_UNREAD = 1 << 20  # bytes that a box leaves unread before nothing more is read from it
_STREAMS = {"stdout": "stdout", "stderr": "stderr"}
_SUBSCRIPTIONS = 1000
_EXIT_TAKES = 1.0  # seconds that a box has to end after it said so


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What an incarnation needs to know of its box: who it is, what holds, and whom to tell.

    ``on_line(stream, text)`` gets what it prints and logs; ``verdict()`` says which limit it was killed for, if any.
    """

    name: str
    level: str
    limits: BoxLimits
    interleave: bool
    collects: bool
    clock: Clock
    router: Router
    on_line: Callable[[str, str], None]
    on_end: Callable[[Incarnation], None]
    verdict: Callable[[], str | None]


class Incarnation:
    """One child with its channel: frames become calls of the router, of its errands, of its box."""

    def __init__(self, child: ChildProcess, about: Surroundings) -> None:
        """Take over a child that has said hello, or is about to."""
        loop = asyncio.get_running_loop()
        self.child = child
        self.about = about
        self.backlog = Backlog(child.channel, int(about.limits.mailbox_mib * _MIB))
        self.member = self._new_member()
        self.replies = Replies(self.member, about.router, about.clock, child.channel.pause, self._go_on)
        self.errands = Errands(child.channel.send, about.clock, about.collects)
        self.heartbeat = Heartbeat(about.clock, self._send)
        self.began = about.clock.monotonic()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.goodbye: boxwire.Exit | None = None
        self.result: Any = None
        self.outputs: dict[str, bytes] = {}
        self.stopping = False
        self.reason = ""
        self._actions: dict[type, Callable[[Any], None]] = {
            wire.Block: self.errands.block,
            wire.Loaded: lambda record: None,
            wire.Pong: self.heartbeat.answered,
            boxwire.Handlers: self._subscribed,
            boxwire.BoxReady: self._became_ready,
            boxwire.Send: self._sent,
            boxwire.Publish: self._published,
            boxwire.Reply: self.replies.take,
            boxwire.Handled: lambda record: about.router.handled(self.member, record.id),
            boxwire.LogRecord: lambda record: about.on_line(_STREAMS.get(record.stream, "log"), record.text),
            boxwire.ExecEnd: self.errands.ended,
            boxwire.File: self.errands.filed,
            boxwire.Exit: self._said_exit,
        }
        child.channel.on_sent = self._go_on
        child.owner = self

    def _new_member(self) -> Member:
        return member_of(self.about.name, self, self.about.limits, self.about.interleave)

    def _send(self, record: Any) -> None:
        self.child.channel.send(wire.encode_record(record))
        if self.child.channel.unsent > _UNREAD:
            # It does not read: what it asks for meanwhile waits, so that the answers do not pile up here.
            self.child.channel.pause()

    def _go_on(self) -> None:
        if not self.replies.waits and self.child.channel.unsent <= _UNREAD:
            self.child.channel.resume()

    # -- its life

    @property
    def python(self) -> str:
        """The version of its interpreter, as in 3.11."""
        hello = self.child.hello
        assert hello is not None, "a child says hello before it becomes a box"
        return ".".join(hello.python.split(".")[:2])

    def assign(self, record: boxwire.AssignBox) -> None:
        """Tell the child who it is."""
        self._send(record)

    async def start_program(self, record: boxwire.BoxProgram | boxwire.Script) -> None:
        """Begin to run; returns when its handlers are known.

        Raises BoxProgramError when it could not be unpacked, and then the box takes another; DeadAgentError.
        """
        if self.ready.done() and not self.ended.done():
            self.ready = asyncio.get_running_loop().create_future()
        self.about.router.join(self.member)
        self.heartbeat.start()
        self._send(record)
        await asyncio.shield(self.ready)

    def _became_ready(self, record: boxwire.BoxReady) -> None:
        if self.ready.done():
            return
        if record.error is None:
            self.ready.set_result(None)
            return
        self.heartbeat.stop()
        self._leave(BoxNotRunningError(self.about.name))
        self.member = self.replies.member = self._new_member()
        self.ready.set_exception(program_error(self.about.name, record.error))
        self.ready.exception()

    def _subscribed(self, record: boxwire.Handlers) -> None:
        if len(record.events) > _SUBSCRIPTIONS:
            raise ProtocolError(f"{len(record.events)} subscriptions, allowed are {_SUBSCRIPTIONS}")
        self.about.router.settle(self.member, record.messages, record.events, record.complete)

    def _said_exit(self, record: boxwire.Exit) -> None:
        try:
            self.result = decoded(record.result)
        except PayloadError as error:
            raise ProtocolError(f"the result: {error}") from None
        self.outputs = self.errands.outputs(record.outputs)
        self.goodbye = record
        self._leave(self._stopped() if record.code == 0 or self.stopping else self._dead(record.code))
        self.about.clock.call_later(_EXIT_TAKES, self._kill_if_there)

    def _kill_if_there(self) -> None:
        if not self.ended.done():
            self.child.kill()

    def on_line(self, stream: str, line: str) -> None:
        """Pass on what it printed."""
        self.about.on_line(stream, line)

    def on_frame(self, kind: int, body: bytes) -> None:
        """Act on a frame. Raises ProtocolError."""
        record = wire.decode_record(kind, body, boxwire.from_box)
        self.replies.flush()
        self.heartbeat.seen()
        action = self._actions.get(type(record))
        if action is None:
            raise ProtocolError(f"a second {type(record).__name__.lower()}")
        action(record)

    def on_exit(self, code: int) -> None:
        """Settle everything that waits for it: it has ended."""
        self.heartbeat.stop()
        self.replies.flush()
        code = program_code(self.about.level, code, None if self.goodbye is None else self.goodbye.code)
        self.reason = self._reason(code)
        dead = self._dead(code)
        self._leave(self._stopped() if self.stopping or (self.goodbye is not None and code == 0) else dead)
        if not self.ready.done():
            self.ready.set_exception(dead)
            self.ready.exception()
        self.errands.fail(dead)
        self.ended.set_result(code)
        self.about.on_end(self)

    def _leave(self, error: ShoalError) -> None:
        if self.member.alive:
            self.about.router.leave(self.member, error)

    def _reason(self, code: int) -> str:
        if self.child.violation is not None:
            return self.child.violation
        limit = self.about.verdict()
        if limit is not None:
            return limit
        if self.stopping:
            return "stopped"
        return f"signal {-code}" if code < 0 else "exit"

    def _stopped(self) -> ShoalError:
        return BoxStoppedError(self.about.name)

    def _dead(self, code: int) -> DeadAgentError:
        name, limit = self.about.name, self.about.verdict()
        why = f"exit code {code}"
        if limit is not None:
            why = f"killed: {limit}"
        elif self.child.violation is not None:
            why = f"killed: {self.child.violation}"
        return DeadAgentError(f"Box {name!r} died ({why})", reason="died", exit_code=code, name=name)

    # -- its end, asked for

    async def stop(self, grace: float, drain: bool) -> None:
        """Take nothing new, let it finish what it took, ask, terminate at half of *grace*, kill at the end of it."""
        if not self.stopping:
            self.stopping = True
            self._close_mailbox(drain)
            self._send(wire.Stop(drain=drain))
        try:
            if not await self._ended_within(grace / 2):
                self._send(boxwire.Terminate())
                if not await self._ended_within(grace / 2):
                    self.child.kill()
            await asyncio.shield(self.ended)
        finally:
            if not self.ended.done():
                self.child.kill()

    def _close_mailbox(self, drain: bool) -> None:
        if drain:
            self.member.close()
        else:
            self._leave(self._stopped())

    async def _ended_within(self, seconds: float) -> bool:
        try:
            async with self.about.clock.timeout(seconds):
                await asyncio.shield(self.ended)
        except TimeoutError:
            return False
        return True

    # -- what it says to others

    def _sent(self, record: boxwire.Send) -> None:
        self.about.router.send(
            self.member,
            record.id,
            record.target,
            record.data,
            timeout=record.timeout,
            handling=record.handling,
            blocks=record.blocks,
        )

    def _published(self, record: boxwire.Publish) -> None:
        try:
            count = self.about.router.publish(self.member, record.event, record.data)
        except ShoalError as error:
            self.answer_error(record.id, error)
        else:
            self.answer(record.id, msgspec.Raw(str(count).encode()), None)

    def answer_error(self, number: int, error: ShoalError) -> None:
        """Answer with an error of the host's own."""
        self.answer(number, NOTHING, to_record(error))

    # -- the port of its member

    def give(self, parcel: Parcel) -> None:
        """Hand over a message or an event."""
        if parcel.event is None:
            self._send(boxwire.Message(id=parcel.number, sender=parcel.sender, data=parcel.data, over=parcel.over))
        else:
            self._send(boxwire.Event(id=parcel.number, sender=parcel.sender, event=parcel.event, data=parcel.data))

    def withdraw(self, number: int) -> None:
        """Tell that nobody waits for that message any more."""
        self._send(boxwire.Withdraw(id=number))

    def answer(self, send_id: int, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        """Bring the answer to what it sent or published."""
        self._send(boxwire.Answer(id=send_id, data=data, error=error))
