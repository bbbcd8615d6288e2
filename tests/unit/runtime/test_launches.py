"""Launches on a busy machine wait, in virtual time; and what is left is what one counts by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, ResourceLimit, RestartPolicy, Task
from shoal.errors import AgentLimitError, AgentStateError
from shoal.kernel.env import Env
from shoal.kernel.inline import InlineHost
from shoal.kernel.load import Load
from shoal.kernel.threads import DaemonPool
from shoal.testing.clock import VirtualClock, run_virtual


class InTheLoop(InlineHost):
    """Runs on the loop what is registered as a process."""

    async def check(self, source: Any, box: Any = None) -> str:
        return "process"


class Probe:
    """A machine whose use a test sets."""

    def __init__(self, memory: float = 0.1, cpu: float = 0.1) -> None:
        self.share = memory
        self.busy = cpu

    def memory(self) -> tuple[float, float]:
        return self.share * 1000, 1000.0

    def cpu(self) -> float:
        return self.busy


class Machine(AgentRuntime):
    """A runtime on a machine whose use a test sets; its "process" agents run inline, so that time can be virtual."""

    def __init__(self, clock: VirtualClock, probe: Probe, limits: ResourceLimit | None = None, **config: Any) -> None:
        settings = {"launch_memory_limit": 0.8, "launch_cpu_limit": 0.8, **config}
        super().__init__(store="sqlite://:memory:", config=settings, clock=clock, resource_limits=limits)
        self.probe = probe

    def _load(self) -> Load:
        return Load(self.probe)

    def _child_hosts(self, env: Env) -> dict[str, Any]:
        return {"process": InTheLoop(env.clock, DaemonPool(1))}


class Worker(BaseAgent):
    async def execute_task(self, task: Task) -> None:
        await asyncio.sleep(task.input_data.get("seconds", 0))


def virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    run_virtual(main, limit_seconds=600)


def events(runtime: AgentRuntime, kind: str) -> list[dict[str, Any]]:
    return [event.details for event in reversed(runtime.query_events(kind))]


@pytest.mark.spec("R41")
@pytest.mark.parametrize("resource", ["memory", "cpu"])
def test_a_launch_waits_until_the_machine_is_quieter(resource: str) -> None:
    async def main(clock: VirtualClock) -> None:
        probe = Probe(**{resource: 0.9})
        async with Machine(clock, probe) as runtime:
            await runtime.register_agent("a", Worker, isolation="process")
            starting = asyncio.create_task(runtime.start_agent("a"))
            await asyncio.sleep(5)
            agent = runtime.get_agent_status("a")
            assert (agent.status, agent.queued_reason) == (AgentStatus.QUEUED, "load")
            assert not starting.done(), "start_agent waits with it"
            (delayed,) = events(runtime, "launch_delayed")
            word = "CPU" if resource == "cpu" else "memory"
            assert delayed["reason"] == f"{word} use 90% is above 80%"
            assert [e["reason"] for e in events(runtime, "agent_queued")] == ["load"]
            capacity = runtime.get_capacity()
            assert (capacity.can_start_agent, capacity.reason) == (False, delayed["reason"])
            assert (capacity.agents_running, capacity.agents_queued) == (0, 1)
            setattr(probe, "busy" if resource == "cpu" else "share", 0.7)
            began = clock.monotonic()
            await starting
            assert clock.monotonic() - began <= 6, "the mean of five seconds falls"
            assert runtime.get_agent_status("a").status is AgentStatus.RUNNING
            assert runtime.get_agent_status("a").queued_reason is None
            assert len(events(runtime, "launch_delayed")) == 1

    virtual(main)


@pytest.mark.spec("R41")
def test_after_thirty_seconds_it_starts_all_the_same_with_a_warning() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Machine(clock, Probe(memory=0.9)) as runtime:
            await runtime.register_agent("a", Worker, isolation="process")
            began = clock.monotonic()
            await runtime.start_agent("a")
            assert clock.monotonic() - began == pytest.approx(30, abs=0.01)
            assert runtime.get_agent_status("a").status is AgentStatus.RUNNING
            first, last = events(runtime, "launch_delayed")
            assert last["goes_ahead"] is True and last["waited_seconds"] == 30 and "goes_ahead" not in first
            (event, _) = runtime.query_events("launch_delayed")
            assert event.severity == "warning"

    virtual(main)


@pytest.mark.spec("R41")
@pytest.mark.parametrize("held", [False, True])
def test_the_gate_is_for_processes_unless_it_is_for_all(held: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        config: dict[str, Any] = {"launch_gate": "all"} if held else {}
        async with Machine(clock, Probe(memory=0.9), **config) as runtime:
            await runtime.register_agent("a", Worker)
            began = clock.monotonic()
            await runtime.start_agent("a")
            assert clock.monotonic() - began == pytest.approx(30 if held else 0, abs=0.01)

    virtual(main)


@pytest.mark.spec("R41")
def test_without_a_limit_nothing_is_held() -> None:
    async def main(clock: VirtualClock) -> None:
        config: dict[str, Any] = {"launch_memory_limit": None, "launch_cpu_limit": None}
        async with Machine(clock, Probe(1.0, 1.0), **config) as runtime:
            await runtime.register_agent("a", Worker, isolation="process")
            began = clock.monotonic()
            await runtime.start_agent("a")
            assert clock.monotonic() == began
            assert events(runtime, "launch_delayed") == []
            assert runtime.get_capacity().can_start_agent

    virtual(main)


def test_restarts_by_policy_do_not_wait() -> None:
    async def main(clock: VirtualClock) -> None:
        probe = Probe()
        async with Machine(clock, probe) as runtime:
            policy = RestartPolicy(initial_seconds=0.1)
            await runtime.register_agent("a", Worker, isolation="process", restart=policy)
            await runtime.start_agent("a")
            probe.share = 0.9
            await asyncio.sleep(6)
            cell = runtime._here.post.cells[runtime.get_agent_status("a").agent_id]
            cell.handle.kill()  # inline: it has ended, and nobody had told it to
            began = clock.monotonic()
            while runtime.get_agent_status("a").restart_count == 0 or runtime.list_agents("running") == []:
                await asyncio.sleep(0.01)
            assert clock.monotonic() - began < 1
            assert events(runtime, "launch_delayed") == []

    virtual(main)


def test_one_that_waits_can_be_stopped_and_its_caller_hears() -> None:
    async def main(clock: VirtualClock) -> None:
        async with Machine(clock, Probe(memory=0.9)) as runtime:
            await runtime.register_agent("a", Worker, isolation="process")
            starting = asyncio.create_task(runtime.start_agent("a"))
            await asyncio.sleep(3)
            await runtime.stop_agent("a")
            with pytest.raises(AgentStateError, match="was stopped while its start waited"):
                await starting
            assert runtime.get_agent_status("a").status is AgentStatus.STOPPED

    virtual(main)


def test_one_that_waited_for_a_place_waits_for_a_quieter_machine_too() -> None:
    async def main(clock: VirtualClock) -> None:
        probe = Probe()
        async with Machine(clock, probe, ResourceLimit(max_concurrent_agents=1)) as runtime:
            for name in ("a", "b"):
                await runtime.register_agent(name, Worker, isolation="process")
            await runtime.start_agent("a")
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("b")
            probe.share = 0.9
            await asyncio.sleep(6)
            began = clock.monotonic()
            await runtime.stop_agent("a")
            assert clock.monotonic() - began < 1, "the stop does not wait for the next start"
            await asyncio.sleep(1)
            assert runtime.get_agent_status("b").queued_reason == "load"
            await asyncio.sleep(30)
            assert runtime.get_agent_status("b").status is AgentStatus.RUNNING

    virtual(main)


@pytest.mark.spec("R41")
def test_capacity_is_what_one_counts_by_hand() -> None:
    async def main(clock: VirtualClock) -> None:
        limits = ResourceLimit(max_concurrent_agents=4, max_task_queue_size=10)
        async with Machine(clock, Probe(0.25, 0.5), limits) as runtime:
            for name, slots in (("a", 2), ("b", 1), ("paused", 3)):
                await runtime.register_agent(name, Worker, max_concurrent_tasks=slots)
                await runtime.start_agent(name)
            await runtime.pause_agent("paused")
            await runtime.register_agent("stopped", Worker)
            for _ in range(5):
                await runtime.submit_task("t", {"seconds": 60})
            await asyncio.sleep(1)
            capacity = runtime.get_capacity()
            assert (capacity.agents_running, capacity.agents_queued) == (3, 0)
            assert (capacity.agents_limit, capacity.agents_available) == (4, 1)
            assert (capacity.tasks_pending, capacity.tasks_limit, capacity.tasks_available) == (2, 10, 8)
            assert (capacity.slots_busy, capacity.slots_total) == (3, 6)
            assert (capacity.memory_used_mb, capacity.memory_total_mb, capacity.cpu_load) == (250, 1000, 0.5)
            assert (capacity.can_start_agent, capacity.reason) == (True, None)
            await runtime.start_agent("stopped")
            await runtime.register_agent("fifth", Worker)
            with pytest.raises(AgentLimitError):
                await runtime.start_agent("fifth")
            capacity = runtime.get_capacity()
            assert (capacity.agents_running, capacity.agents_queued, capacity.agents_available) == (4, 1, 0)
            assert (capacity.can_start_agent, capacity.reason) == (False, "all 4 places are taken")

    virtual(main)
