"""A claim of which it is not known whether it came about: what it gave away is executed all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from shoal.kernel.ports import Store
from shoal.kernel.task import Task
from shoal.store import open_store
from shoal.testing.store_queue_frame import kinds, new
from tests.lifecycle.store_postgres.proxy import Proxy
from tests.lifecycle.store_postgres.test_cuts import _REFUSE, _as_owner
from tests.support.runtimes import running, until


async def nothing(task: Task) -> str:
    return "done"


def test_a_task_that_was_given_after_all_is_executed(postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        looker: Store = open_store(postgres_url)
        await looker.open()
        apart = asyncio.new_event_loop()  # the loop of a runtime may be blocked while it reads
        thread = threading.Thread(target=apart.run_forever)
        thread.start()

        def there(work: Coroutine[Any, Any, Any]) -> Any:
            return asyncio.run_coroutine_threadsafe(work, apart).result(10)

        proxy = Proxy(postgres_url)
        there(proxy.__aenter__())
        async with running(proxy.url, {"a": nothing}, poll_seconds=0.2) as runtime:
            lone = runtime.store.database._lone  # type: ignore[attr-defined]
            await looker.tasks.enqueue([new("before")], now=looker.clock.now(), max_pending=None)
            await until(lambda: looker.tasks.counts()["completed"] == 1 and lone.ready)
            await looker.tasks.pause_queue(True, now=looker.clock.now())
            (task_id,) = await looker.tasks.enqueue([new("in doubt")], now=looker.clock.now(), max_pending=None)
            await _as_owner(postgres_url, _REFUSE)
            proxy.commit, proxy.cut_next = b"task_assigned", "late"
            await _as_owner(postgres_url, "UPDATE meta SET value = '0' WHERE key = 'queue_paused'")
            await until(lambda: "may be stored or not" in caplog.text)
            assert proxy.cuts == 1
            await _as_owner(postgres_url, "DROP TRIGGER refuse ON writers")
            await asyncio.to_thread(there, proxy.carry_on())
            assert looker.tasks.get(task_id).attempt == 1
            await until(lambda: looker.tasks.get(task_id).status == "completed", 10)
            assert kinds(looker, task_id).count("task_completed") == 1
        there(proxy.__aexit__())
        apart.call_soon_threadsafe(apart.stop)
        thread.join()
        apart.close()
        await looker.close()

    asyncio.run(main())
