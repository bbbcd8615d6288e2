"""Which mail was being handled when its node was lost.

Most of what a node has taken only lies in its mailboxes, perhaps for days, and has no part in its death. So a message that
was handed out before is noted in ``begun``, by the number of the hand-out, before its handler begins; the first hand-out is
not, which would be a commit for each message. A note of an earlier hand-out says nothing of this one: none has to be
cleared, also not by older programs, which do not know of it.

Which of several handlers has killed the node nobody knows. What kills mostly does so at once, so it is the one that was
begun last that is given up, and no other for the same death.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from shoal.kernel.clock import epoch
from shoal.store.sql.dead_letters import LETTER, give_up

if TYPE_CHECKING:
    from shoal.kernel.message import DeadLetter
    from shoal.store.sql.transaction import Transaction

__all__ = ["begin", "give_back"]

# By the ids: else PostgreSQL may look for the message among all that its node holds.
_BEGIN = """UPDATE mail SET begun = deliveries, begun_at = ?
    WHERE recipient_id = ? AND message_id = ? AND coalesce(node_id, '') = ?"""
_TOO_OFTEN = f"""{LETTER}, failures + 1 FROM mail
    WHERE node_id = ? AND begun = deliveries AND failures + 1 >= ? ORDER BY begun_at DESC, seq DESC LIMIT 1"""
_GIVE_BACK = """UPDATE mail SET node_id = NULL, failures = failures + CASE WHEN begun = deliveries THEN 1 ELSE 0 END
    WHERE node_id = ?"""


def begin(cx: Transaction, recipient_id: str, message_id: str, node_id: str, now: datetime) -> bool:
    """Note that the handler of a message is about to begin; see ``Mail.begin``."""
    return cx.execute(_BEGIN, (epoch(now), recipient_id, message_id, node_id)) > 0


def give_back(cx: Transaction, node_id: str, now: datetime, max_deliveries: int | None) -> list[DeadLetter]:
    """Give back what a lost node had taken; what it was handling has failed once more. Return what became a dead letter:
    of what has failed *max_deliveries* times (None: nothing), the message begun last."""
    letters: list[DeadLetter] = []
    for *letter, failures in cx.rows(_TOO_OFTEN, (node_id, max_deliveries)):
        why = f"node {node_id} was lost while it was handled; it has failed {failures} times"
        letters += give_up(cx, [letter], "failures", why, now)
    cx.execute(_GIVE_BACK, (node_id,))
    return letters
