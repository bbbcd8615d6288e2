"""The life of an agent when something goes wrong on the way: a store that refuses, a caller that goes, deaf code."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, Task, TaskStatus
from shoal.errors import AgentStartError, RuntimeStoppingError, StoreError
from tests.support.runtimes import running, until

Run = Callable[..., Any]


async def nothing(task: Task) -> str:
    return "done"


class Worker(BaseAgent):
    async def execute_task(self, task: Task) -> str:
        return "done"


class Refusal:
    """Lets the store of a runtime refuse every write while it is on."""

    def __init__(self, runtime: AgentRuntime) -> None:
        self._database: Any = next(part for part in vars(runtime.store).values() if hasattr(part, "faults"))
        self.refused = 0

    def __enter__(self) -> Refusal:
        self._database.faults = self._refuse
        return self

    def _refuse(self, point: str) -> None:
        self.refused += 1
        raise OSError(28, "No space left on device")

    def __exit__(self, *raised: object) -> None:
        self._database.faults = None


# -- a store that refuses


def test_an_agent_that_dies_while_the_store_refuses_is_restarted_when_it_listens(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": nothing}, poll_seconds=0.1) as runtime:
            cell = runtime._here.post.cells[runtime.get_agent_status("a").agent_id]
            with Refusal(runtime) as refusal:
                cell.handle.kill()
                await until(lambda: refusal.refused >= 2)
                assert runtime.get_agent_status("a").status is AgentStatus.RUNNING
            await until(lambda: runtime.get_agent_status("a").restart_count == 1)
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.RUNNING)
            done = await runtime.wait_for_task(await runtime.submit_task("x"), 10)
            assert done.output_data == "done"
            (died,) = runtime.query_events("agent_failed")
            assert died.details["reason"] == "stopped"

    run(main)


def test_a_claim_for_an_agent_that_is_gone_comes_back_although_the_store_refuses_once(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": nothing}, poll_seconds=0.1) as runtime:
            node = runtime._here
            cell = node.post.cells[runtime.get_agent_status("a").agent_id]
            begin, given = node.scheduler._begin, asyncio.Event()
            refusal = Refusal(runtime)

            def begin_late(claim: Any) -> None:
                cell.closing = True  # it began to stop while the claim was on its way
                refusal.__enter__()
                begin(claim)
                given.set()

            node.scheduler._begin = begin_late  # type: ignore[method-assign]
            task_id = await runtime.submit_task("x", agent="a")
            await given.wait()
            await until(lambda: refusal.refused)
            node.scheduler._begin = begin  # type: ignore[method-assign]
            refusal.__exit__()
            cell.closing = False
            assert (await runtime.wait_for_task(task_id, 10)).status is TaskStatus.COMPLETED

    run(main)


def test_a_start_that_the_store_refuses_can_be_tried_again(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, poll_seconds=0.1) as runtime:
            gate = asyncio.Event()

            class Slow(Worker):
                async def on_start(self) -> None:
                    await gate.wait()

            await runtime.register_agent("a", Slow)
            start = asyncio.create_task(runtime.start_agent("a"))
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.STARTING)
            with Refusal(runtime):
                gate.set()
                with pytest.raises(StoreError):
                    await start
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.FAILED)
            await runtime.start_agent("a")
            assert runtime.get_agent_status("a").status is AgentStatus.RUNNING

    run(main)


def test_a_stop_that_the_store_refuses_leaves_the_agent_at_work(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": nothing}, poll_seconds=0.1) as runtime:
            with Refusal(runtime), pytest.raises(StoreError):
                await runtime.stop_agent("a")
            done = await runtime.wait_for_task(await runtime.submit_task("x", agent="a"), 10)
            assert done.output_data == "done"
            await runtime.stop_agent("a")
            assert runtime.get_agent_status("a").status is AgentStatus.STOPPED

    run(main)


def test_a_runtime_whose_store_refuses_still_closes(url: str, run: Run) -> None:
    async def main() -> None:
        before = set(threading.enumerate())
        runtime = AgentRuntime(store=url, config={"poll_seconds": 0.1, "cancel_grace_seconds": 0.3})
        await runtime.start()
        await runtime.register_agent("a", nothing)
        await runtime.start_agent("a")
        with Refusal(runtime):
            began = time.monotonic()
            with pytest.raises(StoreError):
                await runtime.stop(timeout_seconds=1)
            assert time.monotonic() - began < 7
        await until(lambda: not {t for t in threading.enumerate() if "shoal-store" in t.name} - before)

    run(main)


# -- code that does not end


class Deaf(BaseAgent):
    """Its hooks swallow their cancellation until the test is over."""

    over: threading.Event
    hook: str

    async def _deaf(self, hook: str) -> None:
        while hook == self.hook and not self.over.is_set():
            try:
                await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                continue

    async def on_start(self) -> None:
        await self._deaf("on_start")

    async def on_pause(self) -> dict[str, object]:
        await self._deaf("on_pause")
        return {}

    async def on_stop(self) -> None:
        await self._deaf("on_stop")

    async def execute_task(self, task: Task) -> str:
        await self._deaf(task.name)
        return "done"


def deaf(in_hook: str) -> type[Deaf]:
    return type("DeafHere", (Deaf,), {"over": threading.Event(), "hook": in_hook})


def test_stop_at_once_does_not_wait_for_hooks_that_do_not_end(url: str, run: Run) -> None:
    async def main() -> None:
        source = deaf("on_stop")
        async with running(url) as runtime:
            for number in range(5):
                await runtime.register_agent(f"a{number}", source)
                await runtime.start_agent(f"a{number}")
            began = time.monotonic()
            await runtime.stop(graceful=False)
            assert time.monotonic() - began < 2
            source.over.set()
            await asyncio.sleep(0.1)

    run(main)


@pytest.mark.parametrize("isolation", ["inline", "thread"])
def test_stop_at_once_does_not_wait_for_synchronous_hooks(url: str, run: Run, isolation: Any) -> None:
    async def main() -> None:
        over = threading.Event()

        class Blocks(Worker):
            def on_stop(self) -> None:  # type: ignore[override]
                over.wait(20)

        agents = {"a": Blocks, "b": Blocks, "c": Blocks}
        async with running(url, agents, options={"isolation": isolation}) as runtime:
            began = time.monotonic()
            await runtime.stop(graceful=False)
            assert time.monotonic() - began < 2
            over.set()

    run(main)


def test_a_start_and_a_pause_end_although_their_hooks_do_not(url: str, run: Run) -> None:
    async def main() -> None:
        starts, pauses = deaf("on_start"), deaf("on_pause")
        async with running(url, hook_timeout_seconds=0.2, cancel_grace_seconds=0.2) as runtime:
            await runtime.register_agent("starts", starts)
            with pytest.raises(AgentStartError, match="in time"):
                await asyncio.wait_for(runtime.start_agent("starts"), 5)
            await runtime.register_agent("pauses", pauses)
            await runtime.start_agent("pauses")
            with pytest.raises(RuntimeError, match="could not be paused"):
                await asyncio.wait_for(runtime.pause_agent("pauses"), 5)
            await until(lambda: runtime.get_agent_status("pauses").restart_count == 1)
            await until(lambda: runtime.get_agent_status("pauses").status is AgentStatus.RUNNING)
            starts.over.set()
            pauses.over.set()
            await asyncio.sleep(0.1)

    run(main)


def test_an_agent_is_built_anew_although_another_of_its_tasks_does_not_end(url: str, run: Run) -> None:
    async def main() -> None:
        source = deaf("endless")
        async with running(url, cancel_grace_seconds=0.2) as runtime:
            await runtime.register_agent("a", source, max_concurrent_tasks=2)
            await runtime.start_agent("a")
            late = await runtime.submit_task("endless", timeout_seconds=0.2)
            other = await runtime.submit_task("endless")
            assert (await runtime.wait_for_task(late, 10)).error_type == "TaskTimeoutError"
            await until(lambda: runtime.get_agent_status("a").restart_count == 1)
            assert (await runtime.wait_for_task(await runtime.submit_task("good"), 10)).output_data == "done"
            assert [event.task_id for event in runtime.query_events("task_interrupted")] == [other]
            source.over.set()
            assert (await runtime.wait_for_task(other, 10)).attempt == 2

    run(main)


# -- a stop in the middle of a start


def test_a_stop_of_the_runtime_cuts_a_start_short(url: str, run: Run) -> None:
    async def main() -> None:
        ended: list[str] = []

        class Slow(Worker):
            async def on_start(self) -> None:
                await asyncio.sleep(60)

            async def on_stop(self) -> None:
                ended.append("on_stop")

        async with running(url) as runtime:
            await runtime.register_agent("a", Slow)
            start = asyncio.create_task(runtime.start_agent("a"))
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.STARTING)
            await asyncio.sleep(0.05)
            await runtime.stop(timeout_seconds=1)
            with pytest.raises(RuntimeStoppingError):
                await start
            assert ended == ["on_stop"]
            if not url.endswith(":memory:"):
                await runtime.start()
                assert runtime.get_agent_status("a").status is not AgentStatus.STARTING

    run(main)


# -- callers that go


async def _gives_up(verb: Awaitable[None], turns: int) -> None:
    """Begin a verb and cancel its caller a few turns of the loop later."""
    caller = asyncio.ensure_future(verb)
    for _ in range(turns):
        await asyncio.sleep(0 if turns % 2 else 0.0002)
    caller.cancel()
    await asyncio.wait([caller])


def test_a_verb_whose_caller_is_cancelled_is_carried_out_to_its_end(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": nothing}) as runtime:

            def status() -> AgentStatus:
                return runtime.get_agent_status("a").status

            for turns in range(1, 17):
                await _gives_up(runtime.stop_agent("a"), turns)
                await until(lambda: status() is AgentStatus.STOPPED)
                await _gives_up(runtime.start_agent("a"), turns)
                await until(lambda: status() is AgentStatus.RUNNING)
                await _gives_up(runtime.pause_agent("a"), turns)
                await until(lambda: status() is AgentStatus.PAUSED)
                await _gives_up(runtime.resume_agent("a"), turns)
                await until(lambda: status() is AgentStatus.RUNNING)
            assert (await runtime.wait_for_task(await runtime.submit_task("x"), 10)).output_data == "done"

    run(main)


def test_an_agent_may_stop_itself(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:

            async def stops_itself(task: Task) -> None:
                await runtime.stop_agent("a", timeout_seconds=0.1)

            await runtime.register_agent("a", stops_itself)
            await runtime.start_agent("a")
            task_id = await runtime.submit_task("x")
            await until(lambda: runtime.get_agent_status("a").status is AgentStatus.STOPPED)
            assert runtime.get_task_status(task_id).status is TaskStatus.PENDING

    run(main)


def test_an_idle_agent_holds_no_asyncio_task(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url) as runtime:
            before = len(asyncio.all_tasks())
            for number in range(5):
                await runtime.register_agent(f"a{number}", nothing)
                await runtime.start_agent(f"a{number}")
            await runtime.pause_agent("a0")
            await runtime.resume_agent("a0")
            await until(lambda: len(asyncio.all_tasks()) <= before)

    run(main)
