"""The contract of ``Mail`` for agents that pause, tasks that took mail, and nodes that were lost."""

from __future__ import annotations

import msgspec
import pytest

from shoal.errors import LeaseLostError
from shoal.kernel.agent import AgentVerb
from shoal.kernel.ports import Outcome, Return, Settlement, Store
from shoal.testing.store_frame import T0, at, change, contract, events_of, join, message, start
from shoal.testing.store_queue_frame import claim, fence, new, submit

__all__ = ["PausedMailContract"]


class PausedMailContract:
    """Mail that goes back to the disk, and who may no longer send any."""

    @contract
    async def test_mail_of_a_paused_agent_does_not_age(self, store: Store) -> None:
        agent_id = await start(store, "worker")
        await store.mail.put([agent_id], message(0, ttl=10), now=T0)
        in_mailbox = message(1, ttl=10)
        await store.agents.advance(change(agent_id, AgentVerb.PAUSE, state={}, mail=(in_mailbox,)), now=at(4))
        late = msgspec.structs.replace(message(2), expires_at=at(60))
        await store.mail.put([agent_id], late, now=at(50))
        assert await store.mail.expire(now=at(1000)) == 0
        await store.agents.advance(change(agent_id, AgentVerb.RESUME), now=at(1000))
        assert await store.mail.expire(now=at(1005.9)) == 0
        assert await store.mail.expire(now=at(1006)) == 2
        (taken,) = await store.mail.take(agent_id, "n1", now=at(1006), limit=9)
        assert (taken.data, taken.expires_at) == (2, at(1010))

    @contract
    async def test_a_pause_keeps_the_mailbox_in_order(self, store: Store) -> None:
        agent_id = await start(store, "worker")
        for n in range(3):
            await store.mail.put([agent_id], message(n, durable=True), now=T0)
        taken = await store.mail.take(agent_id, "n1", now=T0, limit=9)
        handled, *waiting = taken
        live = [message(n, ttl=60) for n in (3, 4)]
        await store.agents.advance(change(agent_id, AgentVerb.PAUSE, state={}, mail=(*waiting, *live)), now=T0)
        await store.mail.put([agent_id], message(5), now=T0)
        assert store.mail.waiting(agent_id) == 5
        again = await store.mail.take(agent_id, "n1", now=at(500), limit=9)
        assert [(m.data, m.delivery_count) for m in again] == [(n, 1) for n in range(1, 6)]
        assert handled.data == 0, "what is being handled stays with its handler"

    @contract
    async def test_a_pause_keeps_the_mailbox_in_order_before_what_the_store_has(self, store: Store) -> None:
        agent_id = await start(store, "worker")
        sent = [message(n, durable=n % 2 == 0) for n in range(8)]
        for each in (sent[0], sent[2]):
            await store.mail.put([agent_id], each, now=T0)
        await store.mail.take(agent_id, "n1", now=T0, limit=9)
        for each in sent[4:]:  # the mailbox was full when they came
            await store.mail.put([agent_id], each, now=T0)
        await store.mail.put(["other"], message(99), now=T0)
        for _ in range(2):
            waiting = (sent[0], sent[1], sent[2], sent[3])
            await store.agents.advance(change(agent_id, AgentVerb.PAUSE, state={}, mail=waiting), now=T0)
            await store.agents.advance(change(agent_id, AgentVerb.RESUME), now=T0)
            taken = await store.mail.take(agent_id, "n1", now=T0, limit=4)
            assert [(m.data, m.delivery_count) for m in taken] == [(n, 1) for n in range(4)]
        taken = await store.mail.take(agent_id, "n1", now=T0, limit=9)
        assert [m.data for m in taken] == [4, 5, 6, 7]
        assert store.mail.waiting("other") == 1

    @contract
    async def test_what_was_acknowledged_while_it_waited_is_not_kept(self, store: Store) -> None:
        agent_id = await start(store, "worker")
        done, live = message(1, durable=True), message(2)
        await store.mail.put([agent_id], done, now=T0)
        await store.mail.take(agent_id, "n1", now=T0, limit=9)
        await store.mail.ack(agent_id, [done.message_id], now=T0)
        await store.agents.advance(change(agent_id, AgentVerb.PAUSE, state={}, mail=(done, live)), now=T0)
        assert [m.data for m in await store.mail.take(agent_id, "n1", now=T0, limit=9)] == [2]

    @contract
    async def test_held_messages_stay_with_their_node_until_they_are_handled(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        agent_id = await start(store, "worker")
        first, second, waiting = (message(n, ttl=60) for n in range(3))
        step = change(agent_id, AgentVerb.PAUSE, state={}, held=(first, second), mail=(waiting,))
        await store.agents.advance(step, now=T0)
        assert store.mail.waiting(agent_id) == 1, "the held ones are with their handlers"
        await store.mail.ack(agent_id, [first.message_id], now=T0)
        assert events_of(store, "message_received") == [], "it is not durable"
        await join(store, "n2")
        await store.leases.rescue((), now=at(11), max_interruptions=3)
        taken = await store.mail.take(agent_id, "n2", now=at(500), limit=9)
        assert [m.data for m in taken] == [1, 2], "paused, they did not age; what was handled does not come again"

    @contract
    async def test_a_task_that_does_not_complete_gives_its_mail_back(self, store: Store) -> None:
        await join(store, "n1")
        sent = [message(n, durable=True) for n in range(3)]
        for each in sent:
            await store.mail.put(["a1"], each, now=T0)
        await store.mail.take("a1", "n1", now=T0, limit=9)
        await submit(store, new(), now=T0)
        (given,) = await claim(store, now=T0)
        limits = (5, 1, None)
        returns = tuple(
            Return(message_id=each.message_id, error="why", retry_at=at(n + 1), max_deliveries=limits[n])
            for n, each in enumerate(sent)
        )
        settlement = Settlement(
            fence=fence(given),
            agent_id="a1",
            outcome=Outcome.FAILED,
            error_type="E",
            error_message="e",
            returns=returns,
        )
        assert (await store.tasks.settle(settlement, now=T0)).applied
        assert [m.data for m in await store.mail.take("a1", "n1", now=T0, limit=9)] == []
        assert [m.data for m in await store.mail.take("a1", "n1", now=at(1), limit=9)] == [0]
        assert [m.data for m in await store.mail.take("a1", "n1", now=at(3), limit=9)] == [2]
        (letter,) = store.mail.dead_letters()
        assert (letter.message.data, letter.reason, letter.error) == (1, "failures", "why")
        assert not (await store.tasks.settle(settlement, now=at(4))).applied
        assert store.mail.waiting("a1") == 0, "a settlement that is void gives nothing back"

    @contract
    async def test_a_lost_node_sends_and_sets_nothing(self, store: Store) -> None:
        await join(store, "n1", seconds=10)
        await join(store, "n2")
        await store.kv.set("key", 1, now=T0, node_id="n1")
        await store.leases.rescue((), now=at(11), max_interruptions=3)
        with pytest.raises(LeaseLostError):
            await store.mail.put(["r"], message(1, durable=True), now=at(11), node_id="n1")
        with pytest.raises(LeaseLostError):
            await store.kv.set("key", 2, now=at(11), node_id="n1")
        with pytest.raises(LeaseLostError):
            await store.kv.delete("key", now=at(11), node_id="n1")
        assert store.mail.waiting("r") == 0 and events_of(store, "message_sent") == []
        entry = store.kv.get("key", now=at(11))
        assert entry is not None and entry.value == 1
        await store.mail.put(["r"], message(1, durable=True), now=at(11), node_id="n2")
        assert store.mail.waiting("r") == 1
