"""The contract of ``Events``."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from shoal.kernel.event import Event, EventFilter, EventType, Fact, Severity
from shoal.kernel.ports import Store
from shoal.testing.store_frame import T0, at, contract

__all__ = ["EventsContract"]

_FACTS = (
    Fact(event_type="task_enqueued", task_id="t1"),
    Fact(event_type="task_started", task_id="t1", agent_id="a1", node_id="n1", details={"attempt": 1}),
    Fact(event_type="task_failed", task_id="t1", agent_id="a1", node_id="n1", run_id="r1"),
    Fact(event_type="task_retrying", task_id="t2", agent_id="a2", node_id="n1"),
    Fact(event_type="task_started", task_id="t2", agent_id="a1", node_id="n2"),
    Fact(event_type="run_budget_warned", run_id="r1"),
)


class EventsContract:
    """The append-only log."""

    async def _fill(self, store: Store) -> list[Event]:
        for second, fact in enumerate(_FACTS):
            await store.events.append([fact], now=at(second))
        return list(store.events.scan(EventFilter()))

    @contract
    async def test_events_come_back_whole(self, store: Store) -> None:
        assert store.events.last_id() == 0
        written = await self._fill(store)
        assert [
            Fact(
                event_type=e.event_type,
                agent_id=e.agent_id,
                task_id=e.task_id,
                run_id=e.run_id,
                node_id=e.node_id,
                details=e.details,
            )
            for e in written
        ] == list(_FACTS)
        assert [e.timestamp for e in written] == [at(second) for second in range(len(_FACTS))]
        assert [str(e.severity) for e in written] == ["info", "info", "error", "warning", "info", "info"]
        assert store.events.last_id() == written[-1].event_id

    @contract
    async def test_each_filter_alone_and_all_pairs(self, store: Store) -> None:
        written = await self._fill(store)
        wanted: list[dict[str, object]] = [
            {"event_type": "task_started"},
            {"event_type": EventType.TASK_FAILED},
            {"agent_id": "a1"},
            {"task_id": "t2"},
            {"run_id": "r1"},
            {"node_id": "n1"},
            {"severity": Severity.WARNING},
            {"severity": Severity.INFO},
            {"severity": Severity.DEBUG},
            {"min_severity": Severity.WARNING},
            {"min_severity": Severity.INFO},
            {"min_severity": Severity.DEBUG},
            {"since": at(2)},
            {"until": at(2)},
            {"after_id": written[2].event_id},
            {"agent_id": "nobody"},
        ]
        for one in wanted:
            for other in wanted:
                filters = EventFilter(**{**one, **other})  # type: ignore[arg-type]
                expected = [event for event in written if _matches(event, filters)]
                assert list(store.events.query(filters, 100)) == expected[::-1], filters
                assert list(store.events.scan(filters)) == expected, filters

    @contract
    async def test_a_limit_takes_the_newest_or_the_oldest(self, store: Store) -> None:
        written = await self._fill(store)
        assert list(store.events.query(EventFilter(), 2)) == [written[-1], written[-2]]
        assert list(store.events.query(EventFilter(oldest_first=True), 2)) == written[:2]
        assert list(store.events.query(EventFilter(agent_id="a1"), 1)) == [written[4]]

    @contract
    async def test_times_that_are_a_little_out_of_order_are_found(self, store: Store) -> None:
        # Writers take their times before they queue for the disk, so neighbours may be swapped.
        for second in range(0, 400, 2):
            late, early = at(second + 1), at(second - 20)
            await store.events.append([Fact(event_type="x", details={"n": second})], now=late)
            await store.events.append([Fact(event_type="x", details={"n": second + 1})], now=early)
        written = list(store.events.scan(EventFilter()))
        for second in (-30, -20, 0, 1, 57, 199, 380, 399, 400):
            for filters in (EventFilter(since=at(second)), EventFilter(until=at(second))):
                expected = [event for event in written if _matches(event, filters)]
                assert list(store.events.scan(filters)) == expected, filters
                assert list(store.events.query(filters, 5)) == expected[::-1][:5], filters

    @contract
    async def test_a_scan_crosses_pages_without_gap_or_double(self, store: Store) -> None:
        await store.events.append([Fact(event_type=f"kind_{n % 3}", details={"n": n}) for n in range(2500)], now=T0)
        assert [event.details["n"] for event in store.events.scan(EventFilter())] == list(range(2500))
        of_one = [event.details["n"] for event in store.events.scan(EventFilter(event_type="kind_1"))]
        assert of_one == list(range(1, 2500, 3))

    @contract
    async def test_a_scan_ends_at_what_was_newest_when_it_began(self, store: Store) -> None:
        await store.events.append([Fact(event_type="x") for _ in range(1000)], now=T0)
        seen = 0
        for _ in store.events.scan(EventFilter()):
            seen += 1
            if seen % 100 == 0:
                await store.events.append([Fact(event_type="x") for _ in range(100)], now=T0)
        assert seen == 1000

    @contract
    async def test_a_follower_by_id_misses_nothing(self, store: Store) -> None:
        seen: list[object] = []
        position = 0
        for batch in range(50):
            await store.events.append([Fact(event_type="x", details={"n": batch * 7 + n}) for n in range(7)], now=T0)
            for event in store.events.query(EventFilter(after_id=position, oldest_first=True), 10):
                seen.append(event.details["n"])
                position = event.event_id
        assert seen == list(range(350))

    @contract
    async def test_ids_rise_strictly_also_after_everything_was_pruned(self, store: Store) -> None:
        ids: list[int] = []
        for round_ in range(4):
            await store.events.append([Fact(event_type="x") for _ in range(5)], now=at(round_))
            ids += [event.event_id for event in store.events.scan(EventFilter(after_id=ids[-1] if ids else 0))]
            await store.prune(at(1000), limit=1000)
        assert len(ids) == 20
        assert all(earlier < later for earlier, later in pairwise(ids))

    @contract
    async def test_pruning_removes_what_is_older_and_no_more_than_asked(self, store: Store) -> None:
        for second in range(10):
            await store.events.append([Fact(event_type="x", details={"n": second})], now=at(second))
        removed = await store.prune(at(6), limit=4)
        assert removed["events"] == 4
        assert [event.details["n"] for event in store.events.scan(EventFilter())] == [4, 5, 6, 7, 8, 9]
        assert (await store.prune(at(6), limit=100))["events"] == 2
        assert (await store.prune(at(6), limit=100))["events"] == 0
        assert [event.details["n"] for event in store.events.scan(EventFilter())] == [6, 7, 8, 9]
        assert [e.details["n"] for e in store.events.scan(EventFilter(since=at(8)))] == [8, 9]


def _matches(event: Event, filters: EventFilter) -> bool:
    """Tell whether an event matches, said as plainly as can be."""
    order = list(Severity)
    same = all(
        getattr(filters, field) is None or getattr(filters, field) == getattr(event, field)
        for field in ("event_type", "agent_id", "task_id", "run_id", "node_id", "severity")
    )
    return (
        same
        and (filters.min_severity is None or order.index(event.severity) >= order.index(filters.min_severity))
        and (filters.since is None or event.timestamp - filters.since >= timedelta(0))
        and (filters.until is None or event.timestamp - filters.until <= timedelta(0))
        and (filters.after_id is None or event.event_id > filters.after_id)
    )
