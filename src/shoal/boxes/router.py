"""Carries questions, answers and events between the boxes of one runtime. No I/O here: members are reached by ports.

Each question belongs to a chain: what a handler asks continues the chain of the question that it works on. A question
whose chain already waits in its target is handled on top of that wait (call-chain reentrancy, as in Orleans); any other
waits for its turn. A question that would close a circle of waits is refused (``DeadlockError``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import msgspec

from shoal.boxes.audit import Audit
from shoal.boxes.chains import MAX_CHAIN, circle_of, waiting_in
from shoal.boxes.data import check_raw
from shoal.boxes.faults import to_record
from shoal.boxes.members import Member, Parcel, Request
from shoal.boxes.policy import BoxPolicy
from shoal.boxes.wire import NOTHING, ErrorRecord
from shoal.errors import (
    BoxError,
    BoxNotFoundError,
    BoxNotRunningError,
    ChainTooDeepError,
    DeadlockError,
    MailboxFullError,
    NoHandlerError,
    NotAllowedError,
    ProtocolError,
    RequestFailedError,
    ResponseTimeoutError,
    SelfSendError,
    ShoalError,
)
from shoal.kernel.ports import Clock

__all__ = ["HOST", "OWN_EVENTS", "Router"]

HOST = "host"
OWN_EVENTS = "shoal."
"""Events whose names begin so are the runtime's own."""
_LONGEST = 101  # letters of a name: one more than a box can have


class Router:
    """The members of one runtime and what is on its way between them."""

    def __init__(self, clock: Clock, audit: Audit) -> None:
        """Nobody is a member yet."""
        self._clock = clock
        self.audit = audit
        self.policy: BoxPolicy | None = None
        self._names: dict[str, Member | None] = {}
        self._numbers = itertools.count(1)

    # -- who is there

    def reserve(self, name: str) -> None:
        """Make a name known; whoever asks it before ``join`` learns that it does not run."""
        self._names[name] = None

    def join(self, member: Member) -> None:
        """Let a member take part."""
        self._names[member.name] = member

    def forget(self, name: str) -> None:
        """Make a name unknown."""
        self._names.pop(name, None)

    def settle(self, member: Member, messages: bool, events: tuple[str, ...], complete: bool = True) -> None:
        """Learn what a member takes from now on; when that is *complete*, hand over what waited for it."""
        member.messages, member.events = messages, events
        member.settled = member.settled or complete
        if member.settled and not messages:
            for request in list(member.asked.values()):
                if member.drop_queued(request.number):
                    self._close(request, error=_no_handler(member.name))
        member.pump()

    def leave(self, member: Member, error: ShoalError) -> None:
        """End a member: every open question to it ends with *error*, what is in its mailbox is dropped."""
        member.alive = member.open = False
        if self._names.get(member.name) is member:
            self._names[member.name] = None
        member.mailbox.clear()
        member.mailbox_bytes = 0
        for request in list(member.asked.values()):
            self._close(request, error=error)
        for request in list(member.waits.values()):
            self._end_wait(request)
        member.given.clear()

    # -- questions

    def send(
        self,
        sender: Member,
        send_id: int,
        target: str,
        data: msgspec.Raw,
        *,
        timeout: float | None,
        handling: int | None,
        blocks: bool,
    ) -> None:
        """Carry a question; its answer comes by the sender's port. Raises ProtocolError when *send_id* is open already.

        *handling* counts only when the sender really works on that message; else a new chain begins.
        """
        if send_id in sender.waits:
            raise ProtocolError(f"request {send_id} is still open")
        target = target[:_LONGEST]
        parent = self._parent(sender, handling)
        try:
            receiver = self._receiver(sender, target, data)
            request = self._request(sender, send_id, receiver, parent, blocks)
            parcel = Parcel(request.number, sender.name, data, len(data), request=request, over=waiting_in(request))
            self._check_way(request, parcel)
        except ShoalError as error:
            self._refuse(sender, send_id, target, data, error)
            return
        sender.counts.sent += 1
        receiver.counts.received += 1
        self.audit.note(
            "send", sender.name, target=target, request_id=request.number, chain_id=request.chain, bytes=parcel.size
        )
        sender.waits[send_id] = request
        receiver.asked[request.number] = request
        if timeout is not None:
            request.timer = self._clock.call_later(timeout, lambda: self._too_late(request, timeout))
        receiver.put(parcel)

    @staticmethod
    def _parent(sender: Member, handling: int | None) -> Request | None:
        parcel = None if handling is None else sender.given.get(handling)
        return None if parcel is None else parcel.request

    def _receiver(self, sender: Member, target: str, data: msgspec.Raw) -> Member:
        if self.policy is not None and not self.policy.may_send(sender.name, target):
            raise NotAllowedError(sender.name, target)
        if target == sender.name:
            raise SelfSendError
        if target not in self._names:
            raise BoxNotFoundError(target, self._names)
        receiver = self._names[target]
        if receiver is None or not receiver.open:
            raise BoxNotRunningError(target)
        if receiver.settled and not receiver.messages:
            raise _no_handler(target)
        check_raw(data)
        if len(sender.waits) >= sender.in_flight:
            raise BoxError(f"Box {sender.name!r} has {sender.in_flight} open requests")
        return receiver

    def _request(self, sender: Member, send_id: int, receiver: Member, parent: Request | None, blocks: bool) -> Request:
        number = next(self._numbers)
        depth = 1 if parent is None else parent.depth + 1
        if depth > MAX_CHAIN:
            raise ChainTooDeepError(MAX_CHAIN)
        chain = number if parent is None else parent.chain
        began = self._clock.monotonic()
        return Request(number, sender, send_id, receiver, parent, chain, depth, began, blocks)

    def _check_way(self, request: Request, parcel: Parcel) -> None:
        if parcel.over is not None:
            backlog = request.target.port.backlog
            if backlog is not None and not backlog.has_room(parcel.size):
                raise MailboxFullError([request.target.name], request.target.max_count)
            return
        if not request.target.has_room(parcel.size):
            raise MailboxFullError([request.target.name], request.target.max_count)
        if request.blocks and not request.sender.interleave and (circle := circle_of(request)) is not None:
            raise DeadlockError(circle)

    def _refuse(self, sender: Member, send_id: int, target: str, data: msgspec.Raw, error: ShoalError) -> None:
        self.audit.note("refusal", sender.name, target=target, bytes=len(data), outcome=type(error).__name__)
        sender.port.answer(send_id, NOTHING, to_record(error))

    def _too_late(self, request: Request, seconds: float) -> None:
        name = request.target.name
        if not request.target.drop_queued(request.number):
            request.target.port.withdraw(request.number)
        self._close(request, error=ResponseTimeoutError(f"Timeout waiting for {name!r} after {seconds:g} s"))
        request.target.pump()

    # -- answers

    def asker(self, member: Member, number: int) -> Member | None:
        """Return who waits for a member's answer to what it was given under that number, None when nobody does."""
        parcel = member.given.get(number)
        if parcel is None or parcel.request is None or not parcel.request.open:
            return None
        return parcel.request.sender

    def reply(self, member: Member, number: int, data: msgspec.Raw, error: ErrorRecord | None, own: bool) -> None:
        """Take a member's answer to what it was given. One that nobody waits for is counted and dropped."""
        parcel = member.take_back(number)
        if parcel is None or parcel.request is None or not parcel.request.open:
            member.counts.late_replies += 1
        else:
            try:
                check_raw(data)
            except ShoalError as fault:
                data, error, own = NOTHING, to_record(fault), True
            if error is not None and not own:
                error = _failed(member.name, error)
            self._answer(parcel.request, data, error)
        member.pump()

    def handled(self, member: Member, number: int) -> None:
        """Learn that an event is handled."""
        if member.take_back(number) is None:
            member.counts.late_replies += 1
        member.pump()

    def _close(self, request: Request, *, error: ShoalError) -> None:
        self._answer(request, NOTHING, to_record(error))

    def _answer(self, request: Request, data: msgspec.Raw, error: ErrorRecord | None) -> None:
        if not request.open:
            return
        self._end_wait(request)
        self.audit.note(
            "answer",
            request.target.name,
            target=request.sender.name,
            request_id=request.number,
            chain_id=request.chain,
            bytes=len(data),
            duration_ms=round((self._clock.monotonic() - request.began) * 1000, 3),
            outcome="ok" if error is None else error.type,
        )
        if request.sender.alive:
            request.sender.port.answer(request.send_id, data, error)

    def _end_wait(self, request: Request) -> None:
        request.open = False
        if request.timer is not None:
            request.timer.cancel()
        request.sender.waits.pop(request.send_id, None)
        request.target.asked.pop(request.number, None)

    # -- events

    def publish(self, sender: Member, event: str, data: msgspec.Raw) -> int:
        """Put an event into the mailboxes of its subscribers; returns how many took it. Raises what refuses it."""
        try:
            own = event.startswith(OWN_EVENTS)
            if own or (self.policy is not None and not self.policy.may_publish(sender.name, event)):
                raise NotAllowedError(sender.name, event)
            check_raw(data)
        except ShoalError as error:
            self.audit.note("refusal", sender.name, name=event, bytes=len(data), outcome=type(error).__name__)
            raise
        sender.counts.events_out += 1
        return self.spread(sender.name, event, data)

    def spread(self, sender: str, event: str, data: msgspec.Raw) -> int:
        """Put an event that is allowed into the mailboxes of its subscribers; returns how many took it."""
        size = len(data) + len(event)
        taken = 0
        for member in self._subscribers(sender, event):
            if member.has_room(size):
                member.counts.events_in += 1
                member.put(Parcel(next(self._numbers), sender, data, size, event=event))
                taken += 1
            else:
                member.counts.dropped_events += 1
        self.audit.note("publish", sender, name=event, bytes=size)
        return taken

    def _subscribers(self, sender: str, event: str) -> Iterator[Member]:
        for member in list(self._names.values()):
            if member is not None and member.name != sender and member.takes_event(event):
                yield member


def _no_handler(name: str) -> NoHandlerError:
    return NoHandlerError(f"Box {name!r} has no message handler")


def _failed(name: str, error: ErrorRecord) -> ErrorRecord:
    failed = RequestFailedError(
        error.text, error_type=error.type, error_message=error.text, traceback=error.traceback, box=name
    )
    return to_record(failed)
