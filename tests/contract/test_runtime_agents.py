"""What becomes of agents: hooks that raise, places that are taken, crash loops and error thresholds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, ResourceLimit, RestartPolicy, Task, TaskStatus
from shoal.errors import AgentLimitError, AgentPauseError, AgentStartError, RequestFailedError
from tests.support.runtimes import running, until

Run = Callable[..., Any]


class Recorder(BaseAgent):
    """Remembers which hooks ran, and raises in those that ``config["raises"]`` names."""

    seen: list[str]

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.seen = self.config.get("seen", [])

    def note(self, hook: str) -> None:
        SEEN.setdefault(self.name, []).append(hook)
        if hook in self.config.get("raises", []):
            raise KeyError(f"{hook} is broken")

    async def on_start(self) -> None:
        self.note("on_start")

    async def on_stop(self) -> None:
        self.note("on_stop")

    async def on_pause(self) -> dict[str, Any]:
        self.note("on_pause")
        return {}

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.note("on_resume")

    async def on_error(self, error: BaseException, task: Task | None) -> None:
        ERRORS.append((type(error).__name__, task.name if task else None))
        self.note("on_error")

    async def on_message(self, message: Any) -> str:
        self.note("on_message")
        return "heard"

    async def execute_task(self, task: Task) -> str:
        self.note("execute_task")
        if task.input_data.get("fails"):
            raise ValueError("the first error")
        return "done"


SEEN: dict[str, list[str]] = {}
ERRORS: list[tuple[str, str | None]] = []


def hook_failures(runtime: AgentRuntime, name: str) -> list[dict[str, Any]]:
    agent_id = runtime.get_agent_status(name).agent_id
    return [e.details for e in runtime.query_events("agent_hook_failed", agent_id=agent_id)]


async def one_failure(runtime: AgentRuntime, hook: str) -> None:
    await until(lambda: hook_failures(runtime, "a"))
    (failure,) = hook_failures(runtime, "a")
    assert (failure["hook"], failure["type"]) == (hook, "KeyError")
    assert f"{hook} is broken" in failure["text"] and "Traceback" in failure["traceback"]


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()
    ERRORS.clear()


def broken(url: str, hook: str, check: Callable[[AgentRuntime], Any]) -> Callable[[], Any]:
    async def main() -> None:
        async with running(url) as runtime:
            await runtime.register_agent("a", Recorder, {"raises": [hook]})
            if hook != "on_start":
                await runtime.start_agent("a")
            await check(runtime)
            await one_failure(runtime, hook)

    return main


def status(runtime: AgentRuntime, name: str = "a") -> AgentStatus:
    return runtime.get_agent_status(name).status


@pytest.mark.spec("R24")
def test_on_start_raises_failed_and_on_stop_still_runs(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        with pytest.raises(AgentStartError) as error:
            await runtime.start_agent("a")
        assert isinstance(error.value.__cause__, KeyError)
        assert SEEN["a"] == ["on_start", "on_stop"]
        agent = runtime.get_agent_status("a")
        assert agent.status is AgentStatus.FAILED and "on_start is broken" in (agent.error_message or "")
        assert len(runtime.query_events("agent_failed")) == 1
        await asyncio.sleep(0.3)  # the first restart by policy would come after 0.1 s
        assert status(runtime) is AgentStatus.FAILED, "its caller saw it fail: no restart"

    run(broken(url, "on_start", check))


@pytest.mark.spec("R24")
def test_on_stop_raises_and_the_agent_is_stopped(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        await runtime.stop_agent("a")
        assert status(runtime) is AgentStatus.STOPPED
        assert len(runtime.query_events("agent_stopped")) == 1

    run(broken(url, "on_stop", check))


@pytest.mark.spec("R24")
def test_on_pause_raises_and_the_agent_runs_on(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        with pytest.raises(AgentPauseError) as error:
            await runtime.pause_agent("a")
        assert isinstance(error.value.__cause__, KeyError)
        assert status(runtime) is AgentStatus.RUNNING
        done = await runtime.wait_for_task(await runtime.submit_task("t"), 10)
        assert done.status is TaskStatus.COMPLETED
        assert runtime.query_events("agent_paused") == []

    run(broken(url, "on_pause", check))


@pytest.mark.spec("R24")
def test_on_resume_raises_and_the_agent_has_failed(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        await runtime.pause_agent("a")
        with pytest.raises(AgentStartError) as error:
            await runtime.resume_agent("a")
        assert isinstance(error.value.__cause__, KeyError)
        assert status(runtime) is AgentStatus.FAILED
        assert len(runtime.query_events("agent_failed")) == 1
        await asyncio.sleep(0.3)
        assert status(runtime) is AgentStatus.FAILED

    run(broken(url, "on_resume", check))


@pytest.mark.spec("R24")
def test_on_error_raises_and_the_first_error_is_kept(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        task = await runtime.wait_for_task(await runtime.submit_task("t", {"fails": True}), 10)
        assert (task.status, task.error_type, task.error_message) == ("failed", "ValueError", "the first error")
        assert ERRORS == [("ValueError", "t")]
        assert status(runtime) is AgentStatus.RUNNING

    run(broken(url, "on_error", check))


@pytest.mark.spec("R24")
def test_on_message_raises_and_the_asker_gets_it(url: str, run: Run) -> None:
    async def check(runtime: AgentRuntime) -> None:
        with pytest.raises(RequestFailedError) as error:
            await runtime.request("a", "ask", {})
        assert error.value.error_type == "KeyError" and "on_message is broken" in error.value.error_message
        assert "Traceback" in error.value.traceback
        assert status(runtime) is AgentStatus.RUNNING

    run(broken(url, "on_message", check))


@pytest.mark.spec("R24")
def test_execute_task_raises_on_error_runs_and_no_hook_has_failed(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, {"a": Recorder}) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("t", {"fails": True}), 10)
            assert task.status is TaskStatus.FAILED and ERRORS == [("ValueError", "t")]
            done = await runtime.wait_for_task(await runtime.submit_task("t"), 10)
            assert done.status is TaskStatus.COMPLETED, "the agent runs on"
            assert hook_failures(runtime, "a") == []

    run(main)


def runs(runtime: AgentRuntime, name: str) -> bool:
    return status(runtime, name) is AgentStatus.RUNNING


# -- places -----------------------------------------------------------------------------------------------------------


@pytest.mark.spec("R29")
def test_never_more_than_the_limit_live_and_the_queued_start_in_order(url: str, run: Run) -> None:
    alive: set[str] = set()
    most: list[int] = []

    class Living(BaseAgent):
        async def on_start(self) -> None:
            alive.add(self.name)
            most.append(len(alive))
            await asyncio.sleep(0.01)

        async def on_stop(self) -> None:
            await asyncio.sleep(0.01)
            alive.discard(self.name)

        async def execute_task(self, task: Task) -> None:
            return None

    async def main() -> None:
        names = [f"agent-{n}" for n in range(10)]
        async with running(url, limits=ResourceLimit(max_concurrent_agents=3)) as runtime:
            for name in names:
                await runtime.register_agent(name, Living)
            answers = await asyncio.gather(*(runtime.start_agent(name) for name in names), return_exceptions=True)
            refused = [a for a in answers if a is not None]
            assert len(refused) == 7 and all(isinstance(a, AgentLimitError) and a.limit == 3 for a in refused)
            queued = runtime.list_agents(AgentStatus.QUEUED)
            assert len(queued) == 7 and {agent.queued_reason for agent in queued} == {"limit"}
            for name in names:  # two at a time leave
                if status(runtime, name) is AgentStatus.RUNNING:
                    await runtime.stop_agent(name)
                else:
                    await until(partial(runs, runtime, name))
                    await runtime.stop_agent(name)
            events = reversed(runtime.query_events("agent_started", limit=100))
            order = [runtime.get_agent_status(e.agent_id or "").name for e in events]
            assert sorted(order[:3]) == names[:3] and order[3:] == names[3:]
            assert max(most) <= 3

    run(main)


@pytest.mark.spec("R29")
def test_several_that_stop_at_once_give_their_places_to_the_queue(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, limits=ResourceLimit(max_concurrent_agents=3)) as runtime:
            for n in range(7):
                await runtime.register_agent(f"a{n}", Recorder)
                if n < 3:
                    await runtime.start_agent(f"a{n}")
                else:
                    with pytest.raises(AgentLimitError):
                        await runtime.start_agent(f"a{n}")
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("a6")  # once more: it keeps its place in the queue
            await runtime.stop_agent("a4")  # one that waits may leave
            await asyncio.gather(*(runtime.stop_agent(f"a{n}") for n in range(3)))
            await until(lambda: len(runtime.list_agents(AgentStatus.RUNNING)) == 3)
            assert [a.name for a in runtime.list_agents(AgentStatus.RUNNING)] == ["a3", "a5", "a6"]
            assert status(runtime, "a4") is AgentStatus.STOPPED
            capacity = runtime.get_capacity()
            assert (capacity.agents_running, capacity.agents_queued, capacity.agents_available) == (3, 0, 0)

    run(main)


class Loops(BaseAgent):
    """A process agent that dies as soon as it gets a message, or, told so, in every later start."""

    async def on_start(self) -> None:
        import os

        if await self.context.shared.get("dies"):
            os._exit(9)

    async def execute_task(self, task: Task) -> None:
        import os

        await self.context.shared.set("dies", True)
        os._exit(9)


@pytest.mark.spec("R29")
def test_a_crash_loop_is_restarted_five_times_with_growing_waits_then_failed(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, limits=ResourceLimit(max_concurrent_agents=1)) as runtime:
            policy = RestartPolicy(initial_seconds=0.05)
            await runtime.register_agent("loops", Loops, isolation="process", restart=policy)
            await runtime.register_agent("next", Recorder)
            await runtime.start_agent("loops")
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("next")
            await runtime.submit_task("die", agent="loops")
            await until(lambda: len(runtime.query_events("agent_failed")) == 6)
            restarts = [e.details for e in reversed(runtime.query_events("agent_restarted"))]
            assert [r["restart_count"] for r in restarts] == [1, 2, 3, 4, 5]
            assert [r["waited_seconds"] for r in restarts] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8])
            times = [e.timestamp for e in reversed(runtime.query_events("agent_restarted"))]
            gaps = [(b - a).total_seconds() for a, b in pairwise(times)]
            assert all(gap >= wait for gap, wait in zip(gaps, [0.1, 0.2, 0.4, 0.8], strict=True))
            await until(lambda: status(runtime, "next") is AgentStatus.RUNNING)  # its place is free at last
            started = [runtime.get_agent_status(e.agent_id or "").name for e in runtime.query_events("agent_started")]
            assert started == ["next", "loops"], "its place was kept for it while it waited for a restart"
            agent = runtime.get_agent_status("loops")
            assert (agent.status, agent.restart_count) == (AgentStatus.FAILED, 5)

    run(main)


@pytest.mark.spec("R29")
def test_the_error_threshold_counts_failures_in_a_row(url: str, run: Run) -> None:
    async def main() -> None:
        async with running(url, limits=ResourceLimit(max_concurrent_agents=1)) as runtime:
            await runtime.register_agent("a", Recorder, error_threshold=3)
            await runtime.register_agent("next", Recorder)
            await runtime.start_agent("a")
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("next")

            async def work(fails: bool) -> None:
                task_id = await runtime.submit_task("t", {"fails": fails}, agent="a")
                await runtime.wait_for_task(task_id, 10)

            for fails in (True, True, False, True, True):
                await work(fails)
            assert status(runtime) is AgentStatus.RUNNING, "a success resets the count"
            slow = await runtime.submit_task("t", {"fails": True}, agent="a", delay_seconds=60)
            assert await runtime.cancel_task(slow)
            assert status(runtime) is AgentStatus.RUNNING
            await work(True)
            await until(lambda: status(runtime) is AgentStatus.FAILED)
            (event,) = runtime.query_events("agent_error_threshold")
            assert event.details["consecutive_errors"] == 3
            assert Counter(SEEN["a"])["on_stop"] == 1
            await until(lambda: status(runtime, "next") is AgentStatus.RUNNING)
            assert runtime.query_events("agent_restarted") == []
            await runtime.stop_agent("next")
            await runtime.start_agent("a")
            assert status(runtime) is AgentStatus.RUNNING, "start_agent brings it back"
            await work(False)

    run(main)
