"""A node that stops while another process holds its file up waits for that once, not for each word to the store."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Task
from shoal.errors import StoreError
from tests.support.runtimes import UNLIMITED, until

AGENTS = 20
STOP_SECONDS = 1.0
GRACE_SECONDS = 0.3


async def nothing(task: Task) -> str:
    return "done"


@pytest.mark.sqlite
def test_a_node_stops_although_another_process_holds_its_file_up(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        config = {"poll_seconds": 0.1, "cancel_grace_seconds": GRACE_SECONDS}
        runtime = AgentRuntime(tmp_path / "shoal.db", UNLIMITED, config)
        await runtime.start()
        for number in range(AGENTS):
            await runtime.register_agent(f"a{number}", nothing)
            await runtime.start_agent(f"a{number}")
        with open(tmp_path / "shoal.db-lock", "rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            began = time.monotonic()
            with pytest.raises(StoreError, match="holds it up"):
                await runtime.stop(timeout_seconds=STOP_SECONDS)
            assert time.monotonic() - began < STOP_SECONDS + GRACE_SECONDS + 6
        await until(lambda: not {each for each in threading.enumerate() if "shoal-store" in each.name} - before)

    run(main)
