"""A box's answers on their way to who asked: whoever does not read is waited for a moment, and then not any more."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shoal.boxes import boxwire
from shoal.boxes.faults import to_record
from shoal.boxes.members import Member
from shoal.boxes.router import Router
from shoal.boxes.wire import NOTHING, ErrorRecord
from shoal.errors import MailboxFullError
from shoal.kernel.ports import Clock

__all__ = ["Replies"]

_OWN_ERRORS = ("ChainTooDeepError", "MessageTooLargeError", "NoHandlerError", "PayloadError", "ResponseTimeoutError")
"""What the library in a box says of a message; all else that it calls its own is its program's."""
_LOOK_SECONDS = 0.02
_PATIENCE = 50  # looks: a second


class Replies:
    """Brings the answers of one box to the router, one after the other.

    When who asked has too much unread, this box waits with its answer, and nothing more is read from it meanwhile: for a
    second at most, and not again before the other one has read. Then the question ends with ``MailboxFullError``.
    """

    def __init__(
        self, member: Member, router: Router, clock: Clock, hold: Callable[[], object], go_on: Callable[[], object]
    ) -> None:
        """No answer waits. *hold* has nothing more read from the box, *go_on* ends that."""
        self.member = member
        self._router = router
        self._clock = clock
        self._hold = hold
        self._go_on = go_on
        self._waiting: boxwire.Reply | None = None
        self._looks = 0

    @property
    def waits(self) -> bool:
        """Whether an answer waits."""
        return self._waiting is not None

    def take(self, record: boxwire.Reply) -> None:
        """Bring an answer, or wait with it."""
        own = record.own and (record.error is None or record.error.type in _OWN_ERRORS)
        self._waiting, self._looks = msgspec.structs.replace(record, own=own), _PATIENCE
        self._try()

    def flush(self) -> None:
        """Bring the answer that waits now or never: its box has ended."""
        self._looks = 0
        self._try()

    def _try(self) -> None:
        record = self._waiting
        if record is None:
            return
        asker = self._router.asker(self.member, record.id)
        backlog = None if asker is None else asker.port.backlog
        if asker is not None and backlog is not None and not backlog.has_room(len(record.data)):
            if self._looks and not backlog.deaf:
                self._looks -= 1
                self._hold()
                self._clock.call_later(_LOOK_SECONDS, self._try)
                return
            backlog.give_up()
            record = msgspec.structs.replace(record, data=NOTHING, error=_unread(asker), own=True)
        self._waiting = None
        self._router.reply(self.member, record.id, record.data, record.error, record.own)
        self._go_on()


def _unread(asker: Member) -> ErrorRecord:
    text = f"Mailbox of {asker.name!r} is full: it has not read the answers before this one"
    return msgspec.structs.replace(to_record(MailboxFullError([asker.name], asker.max_count)), text=text)
