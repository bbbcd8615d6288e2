"""Services in processes of their own: names, restarts, ends; with real processes and signals."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.errors import AgentNotFoundError, AgentStartError, AgentStateError, PayloadError
from shoal.services import AgentProcessManager, InfoError, RestartPolicy, ServiceAgent
from tests.support.levels import need
from tests.support.processes import gone, script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
PROGRAMS = Path(__file__).with_name("process_programs.py")
SOON = RestartPolicy(initial_seconds=0.02)


class WorkerAgent(ServiceAgent):
    """Tells who it is, and does what it is told."""

    def info(self) -> dict[str, Any]:
        return {"name": "worker", "capabilities": ["work"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("deaf"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                time.sleep(1)
        await asyncio.sleep(payload.get("seconds", 0))
        return {"pid": os.getpid(), "config": self.config}


class RouterAgent(WorkerAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "router", "capabilities": ["route"]}


class LogAgent(WorkerAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "log", "capabilities": ["log"]}


class CrashAgent(WorkerAgent):
    """Comes to life, and dies."""

    async def on_start(self) -> None:
        def die() -> None:
            sys.stderr.write("the disk is on fire\n")
            sys.stderr.flush()
            os._exit(3)

        asyncio.get_running_loop().call_later(0.05, die)


async def ask(runtime: AgentRuntime, name: str, **payload: Any) -> dict[str, Any]:
    return await runtime.services.request(name, payload, timeout=20)


def pids(manager: AgentProcessManager) -> dict[str, int | None]:
    return {name: info.pid for name, info in manager.processes.items()}


async def back(manager: AgentProcessManager, name: str, before: int | None) -> None:
    """Wait until a process has another pid and runs."""
    await until(lambda: manager.processes[name].pid not in (None, before))
    await until(lambda: manager.processes[name].state == "running")


def zombies() -> list[str]:
    """Return the children of this process that have ended and were not reaped."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for pid in children.read_text().split():
            try:
                if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                    found.append(pid)
            except OSError:
                continue
    return found


@pytest.mark.spec("S19", "S49")
def test_five_processes_of_three_kinds_come_back_under_their_names(
    store_url: str, run: Run, rounds: Callable[[int, int], int]
) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(
                runtime, restart=RestartPolicy(initial_seconds=0.05, factor=1, max_restarts=1000)
            )
            names = [
                *await manager.start_agent_process(WorkerAgent, 3, {"depth": 2}),
                *await manager.start_agent_process(RouterAgent),
                *await manager.start_agent_process(LogAgent, 1, {"file": "x"}),
            ]
            assert names == ["workeragent_0", "workeragent_1", "workeragent_2", "routeragent_0", "logagent_0"]
            before = pids(manager)
            assert len(set(before.values())) == 5
            for number in range(rounds(100, 6)):
                name = names[number % 5]
                old, others = pids(manager)[name], {k: v for k, v in pids(manager).items() if k != name}
                config = (await ask(runtime, name))["config"]
                assert old is not None
                os.kill(old, signal.SIGKILL)
                began = time.monotonic()
                await back(manager, name, old)
                answer = await ask(runtime, name)
                assert time.monotonic() - began < 10  # the benchmark holds it to the figure
                assert answer == {"pid": pids(manager)[name], "config": config}
                assert answer["pid"] != old
                assert {k: v for k, v in pids(manager).items() if k != name} == others
                info = manager.processes[name]
                assert (info.state, info.exit_code) == ("running", -9)
                assert info.last_error == f"Agent {name!r} died (exit code -9)"
                await until(lambda: zombies() == [])
            assert list(manager.processes) == names
            assert set((await manager.stop_all_processes()).values()) == {0}
            assert manager.processes == {} and runtime.services.records() == []

    run(main)


def test_what_a_process_is_called_in_lists_of_processes(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime)
            (name,) = await manager.start_agent_process(WorkerAgent)
            for _ in range(2):  # the second one was a spare
                pid = manager.processes[name].pid
                assert pid is not None
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                assert line.endswith(b"\0--title\0shoal_workeragent_0\0")
                assert Path(f"/proc/{pid}/comm").read_text() == "shoal_workerage\n"
                os.kill(pid, signal.SIGKILL)
                await back(manager, name, pid)
            (long,) = await manager.start_agent_process(type("W" * 90, (WorkerAgent,), {}))
            shown = Path(f"/proc/{manager.processes[long].pid}/cmdline").read_bytes().split(b"\0")
            assert shown[-3:] == [b"--title", b"shoal_" + b"w" * 65, b""], "as much of it as has room"
            await manager.stop_all_processes()

    run(main)


@pytest.mark.spec("S21", "S49")
def test_the_same_class_twice_takes_the_next_numbers(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager, other = AgentProcessManager(runtime), AgentProcessManager(runtime)
            first = await manager.start_agent_process(WorkerAgent, 2)
            before = pids(manager)
            both = await asyncio.gather(
                manager.start_agent_process(WorkerAgent), other.start_agent_process(WorkerAgent)
            )
            assert first + sorted(both[0] + both[1]) == [f"workeragent_{n}" for n in range(4)]
            assert {name: pids(manager)[name] for name in first} == before, "nothing was overwritten"
            assert await manager.stop_process("workeragent_0") == 0
            assert await manager.stop_process("workeragent_0") is None
            assert await manager.start_agent_process(WorkerAgent) == ["workeragent_0"], "it is free again"
            with pytest.raises(AgentNotFoundError):
                await manager.stop_process("workeragent_9")
            assert len(await manager.stop_all_processes()) + len(await other.stop_all_processes()) == 4

    run(main)


@pytest.mark.spec("S22")
def test_a_deaf_a_busy_an_idle_and_a_dead_process_are_stopped(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime, restart=RestartPolicy(mode="never"))
            deaf, busy, idle, dead = await manager.start_agent_process(WorkerAgent, 4)
            before = pids(manager)
            lost = asyncio.create_task(ask(runtime, deaf, deaf=True))
            work = asyncio.create_task(ask(runtime, busy, seconds=0.3))
            await until(lambda: [r.load for r in runtime.services.records()] == [1.0, 1.0, 0.0, 0.0])
            killed = before[dead]
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await until(lambda: manager.processes[dead].state == "failed")
            began = time.monotonic()
            twice = await asyncio.gather(manager.stop_all_processes(grace=1), manager.stop_all_processes())
            assert 1 <= time.monotonic() - began < 4
            assert twice[0] == twice[1] == {deaf: -9, busy: 0, idle: 0, dead: -9}
            assert (await work)["pid"] == before[busy], "what was accepted was done"
            error = (await asyncio.gather(lost, return_exceptions=True))[0]
            assert getattr(error, "code", None) == "CANCELLED"
            assert all(pid is not None and gone(pid) for pid in before.values())
            assert await manager.stop_all_processes() == {}

    run(main)


@pytest.mark.spec("S20", "S49")
def test_a_crash_loop_ends_as_failed_with_what_it_said(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime)
            (neighbour,) = await manager.start_agent_process(WorkerAgent)
            (name,) = await manager.start_agent_process(CrashAgent, restart=SOON)
            await until(lambda: manager.processes[name].restarts == 5 and manager.processes[name].state == "failed")
            await until(lambda: len(runtime.query_events("agent_failed")) == 6)
            waits = [event.details["waited_seconds"] for event in reversed(runtime.query_events("agent_restarted"))]
            assert waits == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32])
            info = manager.processes[name]
            assert (info.pid, info.exit_code, info.restarts) == (None, 3, 5)
            assert info.last_error == f"Agent {name!r} died (exit code 3)\nthe disk is on fire"
            other = manager.processes[neighbour]
            assert (other.state, other.restarts, other.exit_code) == ("running", 0, None)
            assert (await ask(runtime, neighbour))["pid"] == other.pid
            assert await manager.stop_all_processes() == {neighbour: 0, name: 3}

    run(main)


def test_without_supervision_nothing_comes_back_until_it_is_turned_on(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime, restart=SOON, supervise=False)
            names = await manager.start_agent_process(WorkerAgent, 2)
            before = pids(manager)
            os.kill(before[names[0]] or 0, signal.SIGKILL)
            await until(lambda: manager.processes[names[0]].exit_code == -9)
            assert manager.processes[names[0]].state == "failed"
            manager.monitor_processes()
            await back(manager, names[0], before[names[0]])
            os.kill(before[names[1]] or 0, signal.SIGKILL)
            await back(manager, names[1], before[names[1]])
            assert set((await manager.stop_all_processes()).values()) == {0}

    run(main)


class Unbuilt(WorkerAgent):
    def on_start(self) -> None:
        raise OSError("no such device")


def test_what_cannot_be_started_is_told_at_the_call_and_leaves_nothing(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            wrong: Any
            for wrong in ({"isolation": "thread"}, {"isolation": "jail"}, {"grace": -1}):
                with pytest.raises(ValueError, match=r"isolation|grace"):
                    AgentProcessManager(runtime, **wrong)
            manager = AgentProcessManager(runtime)
            for count in (0, -1, True, 1.5):
                with pytest.raises(ValueError, match="count"):
                    await manager.start_agent_process(WorkerAgent, count)  # type: ignore[arg-type]
            with pytest.raises(InfoError):
                await manager.start_agent_process(int)  # type: ignore[arg-type]
            with pytest.raises(InfoError):
                await manager.start_agent_process(ServiceAgent)
            with pytest.raises(PayloadError):
                await manager.start_agent_process(WorkerAgent, options={"lock": {1, 2}})
            with pytest.raises(AgentStartError, match="no such device"):
                await manager.start_agent_process(Unbuilt, 2)
            with pytest.raises(ValueError, match="grace"):
                await manager.stop_all_processes(-1)
            assert manager.processes == {} and runtime.services.records() == []

    run(main)


@pytest.mark.spec("S49")
def test_a_stop_while_it_starts_leaves_nothing(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime)
            starting = asyncio.create_task(manager.start_agent_process(WorkerAgent, 3))
            await until(lambda: any(r.state == "starting" for r in runtime.services.records()))
            await manager.stop_all_processes()
            with pytest.raises(AgentStateError, match="stopped while it started"):
                await starting
            assert manager.processes == {} and runtime.services.records() == []

    run(main)


@pytest.mark.spec("S23", "S49")
def test_after_kill_9_of_the_manager_its_children_end_and_their_names_go_on(store_url: str) -> None:
    with script(PROGRAMS, "manager", store_url) as first:
        said = first.hear()
        assert said["counts"] == [1, 1, 1]
        first.signal(signal.SIGKILL)
        began = time.monotonic()
        while not all(gone(pid) for pid in said["pids"].values()):
            assert time.monotonic() - began < 10  # ten times the figure
            time.sleep(0.005)
    with script(PROGRAMS, "manager", store_url) as second:
        again = second.hear()
        assert list(again["pids"]) == [f"counter_{n}" for n in range(3)]
        assert again["counts"] == [2, 2, 2], "with what they had saved"
        second.signal(signal.SIGTERM)
        assert second.hear() == {"left": []}
        assert second.process.wait(20) == 0
        assert all(gone(pid) for pid in again["pids"].values())


def test_who_waits_no_longer_for_a_start_leaves_nothing(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime)
            starting = asyncio.create_task(manager.start_agent_process(WorkerAgent, 2))
            await until(lambda: any(r.state == "starting" for r in runtime.services.records()))
            starting.cancel()
            await asyncio.wait([starting])
            assert starting.cancelled()
            assert manager.processes == {} and runtime.services.records() == []

    run(main)


@pytest.mark.parametrize("level", ["bubblewrap", "gvisor"])
def test_processes_behind_walls_come_back_too(store_url: str, run: Run, level: Any) -> None:
    need(level)

    async def main() -> None:
        async with running(store_url) as runtime:
            manager = AgentProcessManager(runtime, isolation=level, restart=SOON)
            names = await manager.start_agent_process(WorkerAgent, 2, {"depth": 1})
            before = pids(manager)
            killed = before[names[0]]
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await back(manager, names[0], killed)
            assert (await ask(runtime, names[0]))["config"] == {"depth": 1}
            assert pids(manager)[names[1]] == before[names[1]]
            assert await manager.stop_all_processes() == dict.fromkeys(names, 0)

    run(main)
