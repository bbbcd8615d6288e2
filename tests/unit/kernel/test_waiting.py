"""Waiting for what other nodes execute."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.kernel.task import Task
from tests.support.runtimes import running


def test_an_end_that_is_heard_before_the_answer_of_the_store(
    tmp_path: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is as quick as a bell that rings with the commit: whoever waits then asks the store."""

    async def main() -> None:
        async with running(f"sqlite:///{tmp_path / 'shoal.db'}", poll_seconds=60) as runtime:
            node = runtime._node
            assert node is not None
            enqueue = runtime.store.tasks.enqueue

            async def late(tasks: list[Task], **options: Any) -> list[str]:
                ids = await enqueue(tasks, **options)
                await runtime.store.tasks.cancel(ids[0], "elsewhere", now=node.env.clock.now())
                node.tasks.waiting.heard(ids[0])
                return ids

            monkeypatch.setattr(runtime.store.tasks, "enqueue", late)
            task_id = await runtime.submit_task("t")
            assert (await runtime.wait_for_task(task_id, timeout_seconds=20)).status == "cancelled"

    run(main)
