"""A node that is cut off from its store: its agents stand still before its lease ends, and go on when it has it again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import BaseAgent, Task
from tests.support.clocks import WrongClock
from tests.support.cuts import Cut
from tests.support.runtimes import running, until

Run = Callable[..., Any]
LEASE = 1.0


class Ticking(BaseAgent):
    """Does something to the world again and again, and makes no call of its context."""

    async def execute_task(self, task: Task) -> int:
        file = Path(task.input_data["file"])
        while not file.with_suffix(".enough").exists():
            with file.open("a") as ticks:
                ticks.write(".")
            await asyncio.sleep(0.01)
        return file.stat().st_size

    async def on_message(self, message: Any) -> str:
        return "heard"


class Stubborn(BaseAgent):
    """Neither awaits nor calls its context."""

    def execute_task(self, task: Task) -> None:
        while not Path(task.input_data["file"]).exists():
            time.sleep(0.01)


def size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


async def stands(file: Path) -> int:
    """Return the size of a file that does not grow for as long as its writer would need for 50 ticks."""
    before = size(file)
    await asyncio.sleep(0.5)
    assert size(file) == before, "what nobody may do any more is done"
    return before


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_effects_end_before_the_lease_and_go_on_after_it(
    store_url: str, tmp_path: Path, run: Run, isolation: str, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "ticks"

    async def main() -> None:
        options = {"isolation": isolation}
        async with running(store_url, {"ticking": Ticking}, options=options, lease_seconds=LEASE) as runtime:
            task_id = await runtime.submit_task("t", {"file": str(file)}, timeout_seconds=30)
            await until(lambda: size(file) > 5)
            cut = Cut(runtime)
            await cut.until_over()
            held = await stands(file)
            asked = asyncio.ensure_future(runtime.request("ticking", "hello", None, timeout_seconds=20))
            await asyncio.sleep(0.2)
            assert not asked.done(), "nothing begins, either"
            cut.heal()
            await until(lambda: size(file) > held + 5)
            assert (await asked).data == "heard"
            file.with_suffix(".enough").touch()
            task = await runtime.wait_for_task(task_id, timeout_seconds=20)
            assert task.result() > held and task.attempt == 1, "it went on from where it stood"
            await runtime.pause_agent("ticking")
            await runtime.resume_agent("ticking")

    run(main)
    assert "stands still" in caplog.text and "goes on" in caplog.text


def test_a_clock_that_is_set_back_prolongs_no_lease(store_url: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "ticks"

    async def main() -> None:
        clock = WrongClock(0.0)
        async with running(store_url, {"ticking": Ticking}, clock=clock, lease_seconds=LEASE) as runtime:
            task_id = await runtime.submit_task("t", {"file": str(file)}, timeout_seconds=30)
            await until(lambda: size(file) > 5)
            cut = Cut(runtime)
            clock.ahead = -600.0
            await asyncio.sleep(LEASE)
            held = await stands(file)
            assert cut.env.lease_over()
            cut.heal()
            await until(lambda: size(file) > held)
            file.with_suffix(".enough").touch()
            assert (await runtime.wait_for_task(task_id, timeout_seconds=20)).attempt == 1

    run(main)


@pytest.mark.parametrize("singleton", [False, True])
def test_who_only_answers_goes_on_but_for_a_singleton(store_url: str, run: Run, singleton: bool) -> None:
    async def main() -> None:
        options = {"singleton": singleton}
        async with running(store_url, {"ticking": Ticking}, options=options, lease_seconds=LEASE) as runtime:
            agent_id = runtime.agents.get("ticking").agent_id
            assert (await runtime.request(agent_id, "hello", None, timeout_seconds=20)).data == "heard"
            cut = Cut(runtime)
            await cut.until_over()
            asked = asyncio.ensure_future(runtime.request(agent_id, "hello", None, timeout_seconds=20))
            await asyncio.wait([asked], timeout=0.3)
            assert asked.done() is not singleton
            cut.heal()
            assert (await asked).data == "heard"

    run(main)


def test_a_time_limit_stands_still_too(store_url: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "ticks"

    async def main() -> None:
        async with running(store_url, {"ticking": Ticking}, lease_seconds=LEASE) as runtime:
            task_id = await runtime.submit_task("t", {"file": str(file)}, timeout_seconds=3 * LEASE)
            await until(lambda: size(file) > 5)
            cut = Cut(runtime)
            await cut.until_over()
            await asyncio.sleep(3 * LEASE)
            cut.heal()
            file.with_suffix(".enough").touch()
            assert (await runtime.wait_for_task(task_id, timeout_seconds=20)).status == "completed"

    run(main)


def test_what_stands_still_ends_when_the_lease_is_lost(store_url: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "ticks"

    async def main() -> None:
        async with running(store_url, {"ticking": Ticking}, lease_seconds=LEASE) as runtime:
            await runtime.submit_task("t", {"file": str(file)})
            await until(lambda: size(file) > 5)
            cut = Cut(runtime)
            await cut.until_over()
            held = await stands(file)
            cut.answer = False
            await until(lambda: cut.env.lost)
            assert await stands(file) == held
            cut.heal()

    run(main)


def test_a_pause_waits_until_the_lease_is_known_to_hold(store_url: str, tmp_path: Path, run: Run) -> None:
    file = tmp_path / "ticks"

    async def main() -> None:
        async with running(store_url, {"ticking": Ticking}, lease_seconds=LEASE) as runtime:
            task_id = await runtime.submit_task("t", {"file": str(file)})
            await until(lambda: size(file) > 5)
            cut = Cut(runtime)
            await cut.until_over()
            pausing = asyncio.ensure_future(runtime.pause_agent("ticking"))
            await asyncio.sleep(0.2)
            assert not pausing.done()
            cut.heal()
            await pausing
            await stands(file)
            await runtime.resume_agent("ticking")
            file.with_suffix(".enough").touch()
            assert (await runtime.wait_for_task(task_id, timeout_seconds=20)).attempt == 1

    run(main)


def test_code_that_cannot_be_held_is_told_of(
    store_url: str, tmp_path: Path, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "enough"

    async def main() -> None:
        async with running(store_url, {"stubborn": Stubborn}, lease_seconds=LEASE) as runtime:
            task_id = await runtime.submit_task("t", {"file": str(file)})
            await until(lambda: runtime.tasks.executing())
            cut = Cut(runtime)
            with caplog.at_level(logging.ERROR, logger="shoal"):
                await until(lambda: "another node may be doing" in caplog.text)
            cut.heal()
            file.touch()
            assert (await runtime.wait_for_task(task_id, timeout_seconds=20)).attempt == 1

    run(main)
