"""An agent in a process of its own tells the time as its runtime does, whatever the clock of its machine says."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from shoal import BaseAgent, Task, get_lock
from shoal.kernel.starting import present_clock
from tests.support.clocks import WrongClock
from tests.support.runtimes import running, until
from tests.support.servers import Echo

Run = Callable[..., Any]


class Teller(BaseAgent):
    """Tells the time, and takes a lock."""

    async def on_start(self) -> None:
        self.began = present_clock().now().isoformat()

    async def execute_task(self, task: Task) -> Any:
        async with get_lock("child", "clock", 5, ttl=2.0) as lock:
            return {"began": self.began, "now": present_clock().now().isoformat(), "token": lock.token}


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_child_has_the_clock_of_its_runtime(store_url: str, run: Run, ahead: float) -> None:
    async def main() -> None:
        clock = WrongClock(ahead)
        async with running(store_url, {"a": Teller}, clock=clock, options={"isolation": "process"}) as runtime:
            right = runtime.store.clock
            for token in (1, 2):
                task = await runtime.wait_for_task(await runtime.submit_task("x"), timeout_seconds=20)
                told = task.output_data
                assert told["token"] == token, task.error_message
                times = [datetime.fromisoformat(told[word]) for word in ("began", "now")]
                assert all(abs((right.now() - time).total_seconds()) < 60 for time in times[token - 1 :])
                clock.ahead = -ahead  # set, while the child lives

    run(main)


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_a_service_in_a_process_has_the_time_that_its_asker_waits(store_url: str, run: Run, ahead: float) -> None:
    async def main() -> None:
        async with running(store_url, clock=WrongClock(ahead)) as runtime:
            await runtime.services.start(Echo, isolation="process")
            await until(lambda: [each.state for each in runtime.services.records()] == ["running"])
            assert (await runtime.services.request("echo", {"n": 1}, timeout=10))["echo"] == 1

    run(main)
