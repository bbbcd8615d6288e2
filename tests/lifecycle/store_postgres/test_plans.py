"""Statements find their rows by the whole of an index, however the tables have grown since they were planned."""

from __future__ import annotations

import asyncio

import pytest

from shoal.store.postgres.store import PostgresStore
from shoal.store.sql.begun_mail import _BEGIN
from shoal.store.sql.dependents import _RELEASE
from shoal.store.sql.mail import _UNDONE
from shoal.store.sql.paused_mail import _STORED
from shoal.store.sql.tasks import _HOLDS, _QUEUE
from shoal.store.sql.transaction import Transaction

_OF_ONE = """INSERT INTO mail (recipient_id, message_id, message, durable, done_at)
    SELECT 'r1', 'm' || n, NULL, 1, n FROM generate_series(1, 20000) AS n"""
_TASKS = """INSERT INTO tasks (task_id, name, status, blockers, target, priority, created_at, attempt, node_id)
    SELECT 't' || n, 'work', CASE WHEN n > 300 THEN 'running' ELSE 'completed' END, 0, '', 50, 0, 1, 'n1'
    FROM generate_series(1, 301) AS n"""
_READY = """INSERT INTO tasks (task_id, name, status, ready, ready_at, blockers, target, priority, created_at)
    SELECT 'r' || n, 'work', 'pending', 1, n, 0, 'capability:' || n % 3, 50, 0 FROM generate_series(1, 20000) AS n"""


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    ("statement", "ids"),
    [
        (_UNDONE, {"recipient_id": '["r1", "r2"]', "message_id": '["m1", "m2"]'}),
        (_STORED, {"agent_id": "r1", "message_ids": '["m1", "m2"]'}),
    ],
    ids=["acknowledged", "kept by a pause"],
)
def test_mail_is_found_without_a_walk_through_what_is_done(
    postgres_url: str, statement: str, ids: dict[str, str], known: bool
) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()

        def explain(cx: Transaction) -> list[str]:
            return [line for (line,) in cx.rows(f"EXPLAIN {statement}", ids)]

        await store.database.write(Transaction.execute, _OF_ONE)
        if known:
            await store.database.write(Transaction.rows, "ANALYZE mail")
        plan = "\n".join(await store.database.write(explain))
        await store.close()
        conditions = [line for line in plan.splitlines() if "Index Cond" in line]
        assert len(conditions) == plan.count(" on mail") > 0, plan
        assert all("recipient_id =" in line and "message_id =" in line for line in conditions), plan

    asyncio.run(main())


@pytest.mark.parametrize("known", [False, True])
def test_a_message_that_is_begun_is_found_by_its_ids(postgres_url: str, known: bool) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()

        def explain(cx: Transaction) -> list[str]:
            return [line for (line,) in cx.rows(f"EXPLAIN {_BEGIN}", (0, "r1", "m1", "n1"))]

        await store.database.write(Transaction.execute, _OF_ONE)
        if known:
            await store.database.write(Transaction.rows, "ANALYZE mail")  # nobody holds any; more will
        plan = "\n".join(await store.database.write(explain))
        await store.close()
        (condition,) = [line for line in plan.splitlines() if "Index Cond" in line]
        assert "recipient_id =" in condition and "message_id =" in condition, plan

    asyncio.run(main())


def test_a_fence_is_held_to_its_own_task(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()

        def explain(cx: Transaction) -> list[str]:
            return [line for (line,) in cx.rows(f"EXPLAIN {_HOLDS}", {"task_id": "t1", "node_id": "n1", "attempt": 1})]

        await store.database.write(Transaction.execute, _TASKS)
        await store.database.write(Transaction.rows, "ANALYZE tasks")  # few run; the plan is kept when more do
        plan = "\n".join(await store.database.write(explain))
        await store.close()
        assert "tasks_task_id_key" in plan, plan

    asyncio.run(main())


def test_what_waits_for_an_end_is_released_by_its_id(postgres_url: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()

        def explain(cx: Transaction) -> list[str]:
            return [line for (line,) in cx.rows(f"EXPLAIN {_RELEASE}", {"task_id": "t1", "n": 1, "now": 1})]

        await store.database.write(Transaction.execute, _TASKS)
        await store.database.write(Transaction.rows, "ANALYZE tasks")
        plan = "\n".join(await store.database.write(explain))
        await store.close()
        assert "Index Cond: (task_id = " in plan, plan

    asyncio.run(main())


@pytest.mark.parametrize("known", ["few", "none", "all"])
def test_the_oldest_ready_task_is_found_without_a_walk_through_the_ready_ones(postgres_url: str, known: str) -> None:
    async def main() -> None:
        store = PostgresStore(postgres_url)
        await store.open()

        def explain(cx: Transaction) -> list[str]:
            return [line for (line,) in cx.rows(f"EXPLAIN (ANALYZE, COSTS OFF) {_QUEUE}", (1,))]

        await store.database.write(Transaction.execute, _TASKS)
        if known == "few":
            await store.database.write(Transaction.rows, "ANALYZE tasks")
        await store.database.write(Transaction.execute, _READY)
        if known == "all":
            await store.database.write(Transaction.rows, "ANALYZE tasks")
        plan = "\n".join(await store.database.write(explain))
        await store.close()
        assert " on tasks " in plan and "Seq Scan" not in plan and "Bitmap" not in plan, plan
        assert all(f"rows={rows}" not in plan for rows in (20000, 6666, 6667)), plan

    asyncio.run(main())
