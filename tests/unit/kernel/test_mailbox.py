"""The bounded box of one cell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shoal.errors import MailboxFullError
from shoal.kernel.mailbox import Mailbox
from shoal.kernel.message import AgentMessage

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(data: object, *, kind: str = "note", expired: bool = False) -> AgentMessage:
    return AgentMessage(
        message_id=f"m{data}",
        sender_id="s",
        sender_name="s",
        message_type=kind,
        data=data,
        timestamp=NOW,
        expires_at=NOW - timedelta(seconds=1) if expired else None,
    )


def box(limit: int | None, expired: list[AgentMessage] | None = None) -> Mailbox:
    return Mailbox("owner", limit, lambda: NOW, (expired if expired is not None else []).append)


def test_what_has_left_the_store_goes_in_also_when_the_box_is_full() -> None:
    mailbox = box(2)
    mailbox.put(message(0))
    assert (mailbox.low, mailbox.room) == (True, 1)
    mailbox.put(message(1))
    assert (mailbox.low, mailbox.room) == (False, 0)
    with pytest.raises(MailboxFullError):
        mailbox.put(message(2))
    mailbox.put(message(3), taken=True)
    assert [m.data for m in mailbox.get()] == [0, 1, 3]


def test_any_number_of_expired_messages_before_the_next() -> None:
    expired: list[AgentMessage] = []
    mailbox = box(None, expired)
    for number in range(5000):
        mailbox.put(message(number, expired=True))
    mailbox.put(message("answer", kind="response"))
    mailbox.put(message("next"))
    found = mailbox.next_for_handler()
    assert found is not None and found.data == "next"
    assert len(expired) == 5000
    assert mailbox.next_for_handler() is None and [m.data for m in mailbox.get()] == ["answer"]
