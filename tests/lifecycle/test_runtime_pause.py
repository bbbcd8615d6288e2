"""Pause and resume wherever the agent runs, and across ``kill -9``."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, ResourceLimit, Task, TaskStatus
from shoal.errors import AgentPauseError
from tests.lifecycle.paused_node import STATE, Keeper
from tests.support.processes import script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "paused_node.py"
PAUSE = 0.5


class Counter:
    """What an agent of this process counts, for all to see."""

    def __init__(self) -> None:
        self.count = 0


async def paused_for(runtime: AgentRuntime, seconds: float, look: Callable[[], Any]) -> tuple[Any, Any]:
    """Pause agent a, and return what *look* saw at the beginning and at the end of the pause."""
    await runtime.pause_agent("a")
    before = look()
    await asyncio.sleep(seconds)
    after = look()
    assert runtime.get_agent_status("a").status is AgentStatus.PAUSED
    await runtime.resume_agent("a")
    return before, after


@pytest.mark.spec("R25")
@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_a_counting_loop_stands_still_no_timeout_fires_and_locals_are_kept(
    store_url: str, run: Run, isolation: Any
) -> None:
    counter = Counter()

    class Counts(BaseAgent):
        async def execute_task(self, task: Task) -> Any:
            mine = [counter.count]
            for _ in range(task.input_data["times"]):
                await asyncio.sleep(0.01)
                counter.count += 1
                mine.append(counter.count)
            return [mine[0], mine[-1], len(mine)]

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", Counts, isolation=isolation)
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("count", {"times": 30}, timeout_seconds=0.8)
            await until(lambda: counter.count >= 10)
            for _ in range(2):
                before, after = await paused_for(runtime, PAUSE, lambda: counter.count)
                assert before == after >= 10
            task = await runtime.wait_for_task(task_id, 10)
            assert task.result() == [0, 30, 31], "it went on from where it stood"
            assert (task.attempt, runtime.query_events("task_timeout")) == (1, [])
            assert runtime.query_events("agent_paused")[0].details["state_saved"] is True
            too_long = await runtime.submit_task("count", {"times": 1000}, timeout_seconds=0.5)
            await until(lambda: counter.count > 40)
            await paused_for(runtime, 0.1, lambda: None)
            task = await runtime.wait_for_task(too_long, 10)
            assert task.error_type == "TaskTimeoutError", "what was left of its time counts after the pause"

    run(main)


@pytest.mark.spec("R25")
def test_the_time_of_a_message_handler_and_of_its_waits_stands_still_too(store_url: str, run: Run) -> None:
    class Slow(BaseAgent):
        async def on_message(self, message: Any) -> Any:
            mail = await self.context.receive_messages(block=True, timeout_seconds=0.3)
            await self.context.shared.set("handled", len(mail))

    async def main() -> None:
        async with running(store_url, {"a": Slow}, limits=ResourceLimit(task_timeout_seconds=0.4)) as runtime:
            await runtime.send_message(["a"], "go", 1)
            await until(lambda: runtime._here.post.cells[runtime.get_agent_status("a").agent_id].lane.entry is not None)
            await paused_for(runtime, PAUSE, lambda: None)
            await asyncio.sleep(0.1)
            assert await runtime.shared.get("handled") is None, "0.3 s of its own time are not over"
            await until(lambda: runtime.store.kv.get("handled", now=runtime._clock.now()), 3)
            assert await runtime.shared.get("handled") == 0

    run(main)


@pytest.mark.spec("R25")
@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_synchronous_code_is_held_at_a_call_of_its_context(store_url: str, run: Run, isolation: Any) -> None:
    counter = Counter()

    def counts(task: Task, context: Any) -> Any:
        began = counter.count
        while counter.count < began + 60:
            time.sleep(0.01)
            counter.count += 1
            if context.is_stopping():
                return "stopped"
        return counter.count - began

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", counts, isolation=isolation)
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("count", timeout_seconds=1.5)
            await until(lambda: counter.count >= 10)
            for _ in range(2):
                before, after = await paused_for(runtime, PAUSE, lambda: counter.count)
                assert before == after
            assert (await runtime.wait_for_task(task_id, 10)).result() == 60

    run(main)


@pytest.mark.spec("R25")
@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_synchronous_code_that_never_asks_cannot_be_paused_and_runs_on(
    store_url: str, run: Run, isolation: Any
) -> None:
    begun = threading.Event()

    def deaf(task: Task) -> str:
        begun.set()
        time.sleep(task.input_data["seconds"])
        return "ran on"

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", deaf, isolation=isolation)
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("t", {"seconds": 6})
            await until(begun.is_set)
            began = time.monotonic()
            with pytest.raises(AgentPauseError, match="within 5 s"):
                await runtime.pause_agent("a")
            assert 4.9 <= time.monotonic() - began < 5.5
            assert runtime.get_agent_status("a").status is AgentStatus.RUNNING
            assert (await runtime.wait_for_task(task_id, 10)).result() == "ran on"
            again = await runtime.wait_for_task(await runtime.submit_task("t", {"seconds": 0}), 10)
            assert again.status is TaskStatus.COMPLETED

    run(main)


def cpu_loop(task: Task) -> int:
    from pathlib import Path

    count = 0
    while not Path(task.input_data["stop"]).exists():
        count += 1
        if count % 100 == 0:
            Path(task.input_data["count"]).write_text(str(count))
    return count


async def async_cpu_loop(task: Task) -> int:
    return cpu_loop(task)


@pytest.mark.spec("R25")
def test_a_process_in_a_cpu_loop_is_frozen(store_url: str, tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", async_cpu_loop, isolation="process")
            await runtime.start_agent("a")
            files = {"stop": str(tmp_path / "stop"), "count": str(tmp_path / "count")}
            task_id = await runtime.submit_task("loop", files, timeout_seconds=3)
            await until((tmp_path / "count").exists)

            def count() -> str:
                return (tmp_path / "count").read_text()

            await runtime.pause_agent("a", timeout_seconds=0.3)
            before = count()
            await asyncio.sleep(PAUSE)
            assert count() == before
            assert runtime.query_events("agent_paused")[0].details["state_saved"] is False
            await asyncio.sleep(3)  # longer than its time-out
            assert runtime.query_events("task_timeout") == [] and count() == before
            await runtime.resume_agent("a")
            await until(lambda: count() not in ("", before))
            (tmp_path / "stop").touch()
            task = await runtime.wait_for_task(task_id, 10)
            assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 1)

    run(main)


@pytest.mark.spec("R25")
def test_a_process_that_answers_is_held_like_an_inline_agent(store_url: str, tmp_path: Path, run: Run) -> None:
    async def counts(task: Task) -> int:
        import asyncio
        from pathlib import Path

        for number in range(40):
            await asyncio.sleep(0.01)
            Path(task.input_data["count"]).write_text(str(number))
        return number

    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.register_agent("a", counts, isolation="process")
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("t", {"count": str(tmp_path / "count")})
            await until((tmp_path / "count").exists)
            before, after = await paused_for(runtime, PAUSE, (tmp_path / "count").read_text)
            assert before == after
            assert runtime.query_events("agent_paused")[0].details["state_saved"] is True
            assert (await runtime.wait_for_task(task_id, 10)).result() == 39

    run(main)


def test_a_paused_agent_can_be_stopped_and_its_task_goes_back(store_url: str, run: Run) -> None:
    async def forever(task: Task) -> None:
        await asyncio.sleep(600)

    async def main() -> None:
        for isolation in ("inline", "thread", "process"):
            async with running(store_url) as runtime:
                await runtime.register_agent("a", forever, isolation=isolation)
                await runtime.start_agent("a")
                task_id = await runtime.submit_task("t", agent="a")
                await until(lambda: runtime.get_queue_status()["running_count"] == 1)
                await runtime.pause_agent("a")
                began = time.monotonic()
                await runtime.stop_agent("a")
                assert time.monotonic() - began < 3
                assert runtime.get_agent_status("a").status is AgentStatus.STOPPED
                assert runtime.get_task_status(task_id).status is TaskStatus.PENDING
                await runtime.unregister_agent("a")

    run(main)


# -- across kill -9 -----------------------------------------------------------------------------------------------------


def killed(role: str, url: str, wait: float = 0.0) -> Any:
    """Run the script until it says that it is ready, kill it *wait* seconds later, and return what it said."""
    with script(SCRIPT, role, url) as node:
        said = node.hear()
        time.sleep(wait)
        node.signal(signal.SIGKILL)
        node.process.wait()
    return said


@pytest.mark.spec("R26")
@pytest.mark.parametrize("verb", ["start_agent", "resume_agent"])
def test_a_runtime_killed_while_paused_resumes_with_the_same_state(store_url: str, run: Run, verb: str) -> None:
    said = killed("paused", store_url)

    async def main() -> None:
        async with AgentRuntime(store_url) as runtime:
            await runtime.register_agent("keeper", Keeper)
            assert runtime.get_agent_status("keeper").status is AgentStatus.PAUSED
            task = runtime.get_task_status(said["task"])
            assert (task.status, task.attempt) == (TaskStatus.PENDING, 1)
            await getattr(runtime, verb)("keeper")
            assert runtime.get_agent_status("keeper").status is AgentStatus.RUNNING
            assert await runtime.shared.get("resumed") == json.dumps(STATE), "byte for byte"
            await until(lambda: runtime.get_task_status(said["task"]).attempt == 2)
            await runtime.cancel_task(said["task"])

    run(main)


@pytest.mark.spec("R38")
def test_mail_of_a_paused_agent_outlives_its_time_and_a_crash(store_url: str, run: Run) -> None:
    killed("mail", store_url, wait=1.2)

    async def main() -> None:
        async with running(store_url, message_ttl_seconds=1) as runtime:
            await runtime.register_agent("keeper", Keeper)
            await asyncio.sleep(1.2)  # with the time before the kill: more than twice the time to live
            await runtime._here.maintenance._expire()
            assert runtime.dead_letters() == []
            await runtime.resume_agent("keeper")
            task = await runtime.wait_for_task(await runtime.submit_task("take"), 10)
            assert task.result() == list(range(500)), "all, in order"

    run(main)


@pytest.mark.spec("R38")
def test_mail_of_an_agent_that_is_paused_for_long_waits_in_order(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"keeper": Keeper}, message_ttl_seconds=0.5) as runtime:
            for number in range(250):
                await runtime.send_message(["keeper"], "note", number)
            await runtime.pause_agent("keeper")
            for number in range(250, 500):
                await runtime.send_message(["keeper"], "note", number)
            assert runtime.get_agent_status("keeper").mailbox_size == 500
            await asyncio.sleep(1.2)
            await runtime._here.maintenance._expire()
            await runtime.resume_agent("keeper")
            task = await runtime.wait_for_task(await runtime.submit_task("take"), 10)
            assert task.result() == list(range(500))
            assert runtime.dead_letters() == []

    run(main)
