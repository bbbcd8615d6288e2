"""The contract of ``Mail`` when messages, agents and nodes fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from shoal.errors import LeaseLostError
from shoal.kernel.ports import Store
from shoal.testing.store_frame import T0, agent, at, contract, events_of, join, message

__all__ = ["FailedMailContract"]


async def _take(store: Store, recipient: str = "r", *, node: str = "n1", now: float = 0) -> list[object]:
    return [m.data for m in await store.mail.take(recipient, node, now=at(now), limit=100)]


async def _lose(store: Store, node: str, max_deliveries: int | None = None) -> list[str | None]:
    """Lose a node; return why what it had become dead letters."""
    rescue = await store.leases.rescue([node], now=T0, max_interruptions=3, max_deliveries=max_deliveries)
    assert rescue.nodes == (node,)
    assert list(rescue.letters) == store.mail.dead_letters(len(rescue.letters))[::-1]
    return [letter.error for letter in rescue.letters]


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

    @contract
    async def test_what_was_begun_on_each_lost_node_becomes_a_dead_letter(self, store: Store) -> None:
        before, poison, after = sent = [message(n, durable=True) for n in range(3)]
        for each in sent:
            await store.mail.put(["r"], each, now=T0)
        for number in range(3):
            node = await join(store, f"n{number}")
            assert await _take(store, node=node) == [0, 1, 2], "each in its place"
            assert await store.mail.begin("r", poison.message_id, node, now=T0)
            why = await _lose(store, node, 3)
            assert why == ([] if number < 2 else ["node n2 was lost while it was handled; it has failed 3 times"])
        (letter,) = store.mail.dead_letters()
        assert (letter.recipient_id, letter.reason, letter.at) == ("r", "failures", T0)
        assert (letter.message.data, letter.message.delivery_count) == (1, 3)
        (told,) = events_of(store, "message_dead_lettered")
        assert (told.agent_id, told.details["error"]) == ("r", letter.error)
        await join(store, "n3")
        assert [m.message_id for m in await store.mail.take("r", "n3", now=T0, limit=9)] == [
            before.message_id, after.message_id,
        ]  # fmt: skip

    @contract
    async def test_of_several_the_one_begun_last_is_given_up_and_no_other_for_the_same_death(
        self, store: Store
    ) -> None:
        sent = {name: message(name, durable=True) for name in ("begun first", "begun last", "behind")}
        for each in sent.values():
            await store.mail.put(["r"], each, now=T0)
        given_up = []
        for number in range(4):
            node = await join(store, f"n{number}")
            taken = await _take(store, node=node)
            for seconds, name in enumerate(sent):
                if name in taken and name != "behind":
                    assert await store.mail.begin("r", sent[name].message_id, node, now=at(seconds))
            given_up.append(len(await _lose(store, node, 2)))
        assert given_up == [0, 1, 1, 0]
        assert [letter.message.data for letter in store.mail.dead_letters()] == ["begun first", "begun last"]

    @contract
    async def test_what_only_lay_on_lost_nodes_has_not_failed(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        for number in range(6):
            node = await join(store, f"n{number}")
            await _take(store, node=node)
            assert await _lose(store, node, 2) == []
        await join(store, "last")
        (taken,) = await store.mail.take("r", "last", now=T0, limit=9)
        assert (taken.data, taken.delivery_count) == (1, 7)
        assert await store.mail.nack("r", sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=2) is False

    @contract
    async def test_failures_of_its_handler_and_lost_nodes_add_up(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        why: list[str | None] = []
        for number in range(3):
            node = await join(store, f"n{number}")
            await _take(store, node=node)
            assert await store.mail.begin("r", sent.message_id, node, now=T0)
            if number == 1:
                assert not await store.mail.nack("r", sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=3)
            why = await _lose(store, node, None if number < 2 else 3)
        assert why == ["node n2 was lost while it was handled; it has failed 3 times"]

    @contract
    async def test_without_a_limit_nothing_is_given_up(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        for number in range(8):
            node = await join(store, f"n{number}")
            assert await _take(store, node=node) == [1]
            assert await store.mail.begin("r", sent.message_id, node, now=T0)
            assert await _lose(store, node) == []

    @contract
    async def test_a_begin_holds_for_one_hand_out(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r"], sent, now=T0)
        gives_back: dict[str, Callable[[str], Awaitable[object]]] = {
            "released": lambda node: store.mail.release("r", node, now=T0),
            "left in order": lambda node: store.leases.leave(node, now=T0),
            "not handled": lambda _: store.mail.nack(
                "r", sent.message_id, "x", now=T0, retry_at=T0, max_deliveries=9
            ),
        }  # fmt: skip
        for how, give_back in gives_back.items():
            node = await join(store, how)
            assert await _take(store, node=node) == [1]
            assert await store.mail.begin("r", sent.message_id, node, now=T0)
            await give_back(node)
            node = await join(store, f"after it was {how}")
            assert await _take(store, node=node) == [1]
            assert await _lose(store, node, 1) == [], how

    @contract
    async def test_only_who_has_a_message_begins_it(self, store: Store) -> None:
        sent = message(1, durable=True)
        await store.mail.put(["r", "s"], sent, now=T0)
        await join(store, "n1")
        await join(store, "n2")
        assert not await store.mail.begin("r", sent.message_id, "n1", now=T0), "nobody has it"
        await _take(store)
        assert not await store.mail.begin("r", sent.message_id, "n2", now=T0)
        assert not await store.mail.begin("s", sent.message_id, "n1", now=T0)
        assert await store.mail.begin("r", sent.message_id, "n1", now=T0)
        await _lose(store, "n1")
        assert not await store.mail.begin("r", sent.message_id, "n1", now=T0), "it was given back"
        await _take(store, node="n2")
        await store.mail.ack("r", [sent.message_id], now=T0)
        assert not await store.mail.begin("r", sent.message_id, "n2", now=T0), "it is done"
