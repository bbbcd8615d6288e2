"""The contract of ``Mail``."""

from __future__ import annotations

import asyncio

import pytest

from shoal.kernel.event import Fact
from shoal.kernel.message import AgentMessage, DeadLetter
from shoal.kernel.ports import Store
from shoal.testing.store_frame import T0, agent, at, contract, events_of, join, kinds, message

__all__ = ["MailContract"]


async def _take(
    store: Store, recipient: str = "r", *, node: str = "n1", now: float = 0, limit: int = 100
) -> list[object]:
    return [m.data for m in await store.mail.take(recipient, node, now=at(now), limit=limit)]


class MailContract:
    """Messages that must not be lost, and dead letters."""

    @contract
    async def test_a_message_comes_back_whole(self, store: Store) -> None:
        sent = message(
            {"a": [1, None, "ä"]}, ttl=60, correlation_id="c", topic="x.y", expects_reply=True, chain=("i1", "i2"),
            recipient_ids=("r", "s"),
        )  # fmt: skip
        await store.mail.put(["r", "s"], sent, now=T0)
        assert await store.mail.take("r", "n1", now=at(1), limit=9) == [sent]
        assert await store.mail.take("s", "n1", now=at(1), limit=9) == [sent]

    @contract
    async def test_order_limit_and_count(self, store: Store) -> None:
        for n in range(10):
            await store.mail.put(["r"], message(n, durable=n % 2 == 0), now=at(-n))
        assert store.mail.waiting("r") == 10
        assert await _take(store, limit=4) == [0, 1, 2, 3]
        assert store.mail.waiting("r") == 6
        assert await _take(store) == [4, 5, 6, 7, 8, 9]
        assert await _take(store) == []
        assert store.mail.waiting("r") == store.mail.waiting("nobody") == 0

    @contract
    async def test_a_durable_message_is_handed_out_once_until_it_is_given_back(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        counts = []
        for _ in range(3):
            (taken,) = await store.mail.take("r", "n1", now=T0, limit=9)
            counts.append(taken.delivery_count)
            assert await _take(store, node="n2") == []
            assert await store.mail.release("r", "n2", now=T0) == 0
            assert await store.mail.release("other", "n1", now=T0) == 0
            assert await store.mail.release("r", "n1", now=T0) == 1
        assert counts == [1, 2, 3]

    @contract
    async def test_of_many_takers_one_gets_each_message(self, store: Store) -> None:
        for n in range(40):
            await store.mail.put(["r"], message(n, durable=n % 2 == 0), now=T0)
        takes = [store.mail.take("r", f"n{taker}", now=T0, limit=7) for taker in range(8)]
        assert [m.data for taken in await asyncio.gather(*takes) for m in taken] == list(range(40))

    @contract
    async def test_an_acknowledged_message_never_comes_again(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r", "s"], sent, now=T0)
        await _take(store)
        await store.mail.ack("r", [sent.message_id, "unknown"], now=T0)
        await store.mail.ack("r", [sent.message_id], now=T0)
        await store.mail.release("r", "n1", now=T0)
        await store.mail.put(["r", "s"], sent, now=T0)
        assert await store.mail.nack("r", sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=1) is False
        assert await _take(store, now=9) == []
        assert await _take(store, "s") == [1]
        (received,) = events_of(store, "message_received")
        assert received.agent_id == "r" and received.details["message_id"] == sent.message_id

    @contract
    async def test_a_known_message_is_not_stored_again(self, store: Store) -> None:
        for durable in (False, True):
            sent = message(1, durable=durable)
            for _ in range(3):
                await store.mail.put(["r"], sent, now=T0)
            assert await _take(store) == [1]
        assert len(events_of(store, "message_sent")) == 1

    @contract
    async def test_events_for_durable_messages_only(self, store: Store) -> None:
        await store.mail.put(["r"], message(1), now=T0)
        assert kinds(store) == []
        sent = message(2, durable=True)
        await store.mail.put(["r", "s"], sent, now=T0)
        (event,) = events_of(store, "message_sent")
        assert event.agent_id == "sender" and event.details["message_id"] == sent.message_id

    @contract
    async def test_nack_waits_and_lets_later_messages_pass(self, store: Store) -> None:
        first, second = message(1, durable=True), message(2, durable=True)
        await store.mail.put(["r"], first, now=T0)
        await store.mail.put(["r"], second, now=T0)
        await _take(store, limit=1)
        gone = await store.mail.nack("r", first.message_id, "boom", now=T0, retry_at=at(5), max_deliveries=5)
        assert gone is False
        assert list(store.mail.due(["r", "s"], now=at(4))) == ["r"]
        assert await _take(store, now=4) == [2]
        assert list(store.mail.due(["r"], now=at(4))) == []
        assert list(store.mail.due(["s", "r"], now=at(5))) == ["r"]
        (again,) = await store.mail.take("r", "n1", now=at(5), limit=9)
        assert (again.data, again.delivery_count) == (1, 2)

    @contract
    async def test_the_last_failed_delivery_makes_a_dead_letter(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        gone = []
        for n in range(3):
            await _take(store)
            gone.append(
                await store.mail.nack("r", sent.message_id, f"boom {n}", now=at(n), retry_at=T0, max_deliveries=3)
            )
        assert gone == [False, False, True]
        assert await _take(store, now=9) == []
        (letter,) = store.mail.dead_letters()
        assert (letter.recipient_id, letter.reason, letter.error, letter.at) == ("r", "failures", "boom 2", at(2))
        assert (letter.message.message_id, letter.message.data) == (sent.message_id, 1)
        (event,) = events_of(store, "message_dead_lettered")
        assert event.agent_id == "r" and event.details["reason"] == "failures"
        await store.mail.put(["r"], sent, now=T0)
        assert await _take(store) == [], "a repeated send does not bring a dead letter back"

    @contract
    async def test_redeliver_makes_mail_of_dead_letters(self, store: Store) -> None:
        with pytest.raises(LookupError, match="unknown"):
            await store.mail.redeliver("unknown", now=T0)
        sent = message(1, durable=True, ttl=10)
        r, s = [(await store.agents.register(agent(name), now=T0)).agent_id for name in ("r", "s")]
        await store.mail.put([r, s], sent, now=T0)
        assert await store.mail.expire(now=at(10)) == 2
        assert await store.mail.redeliver(sent.message_id, now=at(20)) == [r, s]
        assert store.mail.dead_letters() == []
        (taken,) = await store.mail.take(r, "n1", now=at(20), limit=9)
        assert (taken.data, taken.durable, taken.delivery_count) == (1, True, 1)
        await store.mail.ack(r, [sent.message_id], now=at(20))
        assert await _take(store, r, now=21) == []
        assert await _take(store, s, now=21) == [1]

    @contract
    async def test_what_nobody_took_in_time_becomes_a_dead_letter(self, store: Store) -> None:
        for n in range(3):
            await store.mail.put(["r"], message(n, durable=n == 0, ttl=10 * (n + 1)), now=T0)
        assert await store.mail.expire(now=at(9.9)) == 0
        assert await store.mail.expire(now=at(10)) == 1
        assert await _take(store, now=20) == [2], "also found when it is taken"
        letters = store.mail.dead_letters()
        assert [(letter.message.data, letter.reason) for letter in letters] == [(1, "expired"), (0, "expired")]
        assert [letter.message.data for letter in store.mail.dead_letters(1)] == [1]
        assert kinds(store)[1:] == ["message_expired", "message_dead_lettered"] * 2
        assert await store.mail.expire(now=at(99)) == 0

    @contract
    async def test_what_is_handed_out_does_not_expire(self, store: Store) -> None:
        sent = message(1, durable=True, ttl=10)
        await store.mail.put(["r"], sent, now=T0)
        await _take(store)
        assert await store.mail.expire(now=at(11)) == 0
        await store.mail.ack("r", [sent.message_id], now=at(11))
        assert store.mail.dead_letters() == [] and len(events_of(store, "message_received")) == 1

    @contract
    async def test_buried_letters_and_their_facts(self, store: Store) -> None:
        kept = message(1, durable=True)
        await store.mail.put(["r"], kept, now=T0)
        await _take(store)
        letters = [
            DeadLetter(message=letter, recipient_id="r", reason="stopped", at=at(3), error="why")
            for letter in (kept, message(2, recipient_ids=("r",)))
        ]
        await store.mail.bury(letters, now=at(3), facts=[Fact(event_type="message_rejected", agent_id="r")])
        assert store.mail.dead_letters() == letters[::-1]
        assert kinds(store)[1:] == ["message_rejected", "message_dead_lettered", "message_dead_lettered"]
        await store.mail.release("r", "n1", now=at(3))
        assert await _take(store, now=9) == []

    @contract
    async def test_a_lost_node_gives_back_what_it_took(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        await join(store, "n2")
        for n in range(3):
            await store.mail.put(["r"], message(n, durable=True), now=T0)
        await _take(store, limit=1)
        await _take(store, node="n2", limit=1)
        await store.leases.rescue((), now=at(11), max_interruptions=3)
        assert await _take(store, node="n2", now=11) == [0, 2]

    @contract
    async def test_unregistering_buries_the_mail(self, store: Store) -> None:
        known = await store.agents.register(agent("worker"), now=T0)
        for durable in (True, False):
            await store.mail.put([known.agent_id], message(1, durable=durable), now=T0)
        await store.agents.unregister(known.agent_id, now=at(1))
        assert [letter.reason for letter in store.mail.dead_letters()] == ["stopped", "stopped"]
        assert store.mail.waiting(known.agent_id) == 0

    @contract
    async def test_pruning_removes_old_dead_letters_only(self, store: Store) -> None:
        sent: list[AgentMessage] = [message(n, ttl=n + 1) for n in range(4)]
        for each in sent:
            await store.mail.put(["r"], each, now=T0)
            await store.mail.expire(now=at(each.data + 1))
        await store.mail.put(["r"], message("fresh"), now=T0)
        assert (await store.prune(at(3), limit=1))["dead_letters"] == 1
        assert (await store.prune(at(3), limit=9))["dead_letters"] == 1
        assert [letter.message.data for letter in store.mail.dead_letters()] == [3, 2]
        assert await _take(store) == ["fresh"]
