"""The contract of ``Mail`` when messages, agents and nodes fail."""

from __future__ import annotations

import pytest

from shoal.errors import LeaseLostError
from shoal.kernel.ports import Store
from shoal.testing.store_frame import T0, agent, at, contract, join, message

__all__ = ["FailedMailContract"]


async def _take(store: Store, recipient: str = "r", *, node: str = "n1", now: float = 0) -> list[object]:
    return [m.data for m in await store.mail.take(recipient, node, now=at(now), limit=100)]


class FailedMailContract:
    """What counts as a failure of a message, and what is not taken from whom."""

    @contract
    async def test_a_dead_letter_of_an_agent_that_is_known_no_more_stays(self, store: Store) -> None:
        sent = message(1, durable=True)
        ids = [(await store.agents.register(agent(name), now=T0)).agent_id for name in ("r", "s")]
        for agent_id in ids:
            await store.mail.put([agent_id], sent, now=T0)
            await _take(store, agent_id)
            await store.mail.nack(agent_id, sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=1)
        await store.agents.unregister(ids[0], now=T0)
        assert await store.mail.redeliver(sent.message_id, now=T0) == [ids[1]]
        assert [letter.recipient_id for letter in store.mail.dead_letters()] == [ids[0]]
        with pytest.raises(LookupError, match="not found"):
            await store.mail.redeliver(sent.message_id, now=T0)
        assert [letter.recipient_id for letter in store.mail.dead_letters()] == [ids[0]]

    @contract
    async def test_what_was_handed_out_and_not_tried_does_not_count_as_failed(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        for _ in range(5):
            await _take(store)
            await store.mail.release("r", "n1", now=T0)
        gone = []
        for _ in range(2):
            await _take(store)
            gone.append(await store.mail.nack("r", sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=2))
        assert gone == [False, True]

    @contract
    async def test_a_node_that_was_given_up_takes_nothing(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        await join(store, "n2")
        for durable in (True, False):
            await store.mail.put(["r"], message(durable, durable=durable), now=T0)
        await store.leases.rescue((), now=at(11), max_interruptions=3)
        with pytest.raises(LeaseLostError):
            await _take(store, now=12)
        assert await _take(store, node="n2", now=12) == [True, False]

    @contract
    async def test_what_is_over_becomes_dead_letters_piece_by_piece(self, store: Store) -> None:
        for n in range(5):
            await store.mail.put(["r"], message(n, durable=n % 2 == 0, ttl=n + 1), now=T0)
        assert await store.mail.expire(now=at(4), limit=3) == 3
        assert [letter.message.data for letter in store.mail.dead_letters()] == [2, 1, 0]
        assert await _take(store, now=4) == [4]
        assert await store.mail.expire(now=at(4), limit=3) == 0
        assert [letter.message.data for letter in store.mail.dead_letters()] == [3, 2, 1, 0]
