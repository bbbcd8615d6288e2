"""What is left when a node was killed, was frozen or had no disk; and that nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, RestartPolicy, Task, TaskStatus
from shoal.config import store_file
from shoal.errors import AgentNameTakenError, ConfigError, DeadAgentError, TaskFailedError
from shoal.kernel.ports import Child, Node
from shoal.kernel.takeover import has_ended, process_start, this_boot
from tests.support.backend import on_cluster
from tests.support.facts import all_events, check_story
from tests.support.otheruser import other_user
from tests.support.processes import gone, script
from tests.support.runtimes import running, until

NODE = Path(__file__).with_name("one_node.py")
HIDDEN = "import sys; from shoal.kernel.takeover import has_ended; print(has_ended(int(sys.argv[1]), int(sys.argv[2])))"
ASK = "from shoal.kernel.takeover import this_boot; print(this_boot())"

Run = Callable[..., Any]


async def nothing(task: Task) -> None:
    return None


@pytest.mark.spec("R48", "R51")
def test_a_restart_takes_up_what_a_killed_node_left(store_url: str, run: Run) -> None:
    with script(NODE, "busy_children", store_url) as node:
        left = node.hear()
        frozen, other = left["pids"]
        os.kill(frozen, signal.SIGSTOP)  # it cannot end by itself
        node.signal(signal.SIGKILL)
        node.process.wait()
        killed = time.monotonic()

    async def main() -> None:
        order: list[str] = []

        async def note(task: Task) -> None:
            order.append(task.name)

        async with running(store_url) as runtime:
            for name in ("p0", "p1"):
                agent_id = await runtime.register_agent(name, note)
                assert agent_id == left["agents"][int(name[1])], "a known name keeps its id"
                await runtime.start_agent(name)
            started = runtime.get_agent_status("p1").started_at
            assert started is not None
            for task in await runtime.wait_for_tasks(left["held"], timeout_seconds=10):
                assert task.attempt == 2 and task.started_at is not None
                assert (task.started_at - started).total_seconds() <= 2
            await until(lambda: gone(frozen) and gone(other), seconds=2 - (time.monotonic() - killed))
            orphans = runtime.query_events("orphan_killed")  # those that the end of their parent had not ended yet
            assert {event.details["pid"] for event in orphans if event.agent_id is not None} <= {frozen, other}
            order.clear()
            await runtime.register_agent("w", note, capabilities=["later"])
            await runtime.start_agent("w")
            done = await runtime.wait_for_tasks(left["waiting"])
            assert order == [task.name for task in sorted(done, key=lambda task: task.priority)]
            events = all_events(runtime)
            check_story(runtime.list_tasks(), events)
            (start,) = (event for event in events if event.event_type == "node_lost")
            assert start.event_id > left["last_event"]

    run(main)


@pytest.mark.spec("R48", "R44")
def test_an_orphan_of_a_dead_node_is_killed(store_url: str, run: Run) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    orphan = subprocess.Popen(["sleep", "600"], start_new_session=True)
    started = process_start(orphan.pid)
    assert started is not None

    async def main() -> None:
        async with running(store_url) as runtime:
            now = runtime.query_events(limit=1)[0].timestamp
            node = Node(
                node_id="dead", runtime_id="dead", name="dead", host=this_boot(), pid=dead.pid, pid_started=1,
                started_at=now, lease_until=now + timedelta(days=1),
            )  # fmt: skip
            await runtime.store.leases.join(node, now=now)
            await runtime.store.leases.adopt(Child(node_id="dead", pid=orphan.pid, pid_started=started))
            assert runtime.query_events("orphan_killed") == []
        async with running(store_url) as runtime:
            (event,) = runtime.query_events("orphan_killed")
            assert (event.node_id, event.details["pid"]) == ("dead", orphan.pid)

    try:
        run(main)
        assert orphan.wait(timeout=10) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()


@pytest.mark.spec("R49")
def test_a_frozen_node_loses_its_task_and_cannot_settle_it_late(store_url: str, run: Run) -> None:
    async def main(node: Any) -> None:
        async def quick(task: Task) -> str:
            return "the other node"

        (task_id,) = (node.hear()["task"],)
        assert node.hear() == {"at": "started"}
        async with running(store_url, {"b": quick}, lease_seconds=2, poll_seconds=0.2) as runtime:
            node.signal(signal.SIGSTOP)
            frozen = time.monotonic()
            done = await runtime.wait_for_task(task_id, timeout_seconds=20)
            assert time.monotonic() - frozen <= 2 + 1
            assert (done.output_data, done.attempt) == ("the other node", 2)
            node.signal(signal.SIGCONT)
            await until(lambda: runtime.query_events("lease_lost"))
            node.tell("go on")
            said: list[Any] = []
            while not said or said[-1] != {"at": "stopped"}:
                said.append(await asyncio.to_thread(node.hear))
            assert {"refused": "LeaseLostError"} in said
            assert {"at": "wrote"} not in said
            assert await runtime.shared.get("late") is None
            assert runtime.get_task_status(task_id).output_data == "the other node"
            check_story(runtime.list_tasks(), all_events(runtime))
            assert len(runtime.query_events("task_completed")) == 1
            (lost,) = runtime.query_events("node_lost")
            assert runtime.get_agent_status("a").status == "failed"
            assert lost.node_id != runtime.node_id
            assert len(runtime.list_tasks()) == 1, "what it submitted without a lease was not stored"

    with script(NODE, "slow_task", store_url) as node:
        run(lambda: main(node))


def freeze_between_writes(node: Any, url: str) -> None:
    """Freeze a node at a moment in which it does not hold up the store; a server ends such a transaction by itself."""
    file = store_file(url)
    if file is None:
        node.signal(signal.SIGSTOP)
        return
    while True:
        node.signal(signal.SIGSTOP)
        with open(f"{file}-lock") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        node.signal(signal.SIGCONT)
        time.sleep(0.01)


def test_an_agent_of_a_frozen_node_that_goes_on_is_not_taken_from_it(store_url: str, run: Run) -> None:
    async def main(node: Any) -> None:
        node.hear()
        freeze_between_writes(node, store_url)
        await asyncio.sleep(2.1)  # its lease has ended, and who is new here cannot know whether it lives
        async with running(store_url, lease_seconds=30) as runtime:
            with pytest.raises(AgentNameTakenError) as taken:
                await runtime.register_agent("a", nothing)
            node.signal(signal.SIGCONT)
            tasks = runtime.list_tasks()
            done = await runtime.wait_for_tasks([task.task_id for task in tasks], timeout_seconds=20)
            assert [task.output_data for task in done] == ["the frozen node"]
            assert runtime.get_agent_status("a").node_id == taken.value.node_id
            assert runtime.query_events("lease_lost") == []

    with script(NODE, "slow_task", store_url) as node:
        run(lambda: main(node))


def test_who_cannot_be_seen_is_not_dead() -> None:
    mine, started = os.getpid(), process_start(os.getpid())
    assert started is not None and not has_ended(mine, started) and has_ended(mine, started + 1)
    ended = subprocess.Popen(["true"])
    ended.wait()
    assert has_ended(ended.pid, started)
    with other_user() as other:
        if isinstance(other, str):
            pytest.skip(other)
        asked = ["-c", HIDDEN, str(mine), str(started)]
        command = [*other.command("x")[:-2], *asked]
        hidden = subprocess.run(
            ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh", *command],
            capture_output=True, text=True, check=False, env=other.env, cwd="/",
        )  # fmt: skip
    if "mount" in hidden.stderr or "unshare" in hidden.stderr:
        pytest.skip(f"no /proc of its own here: {hidden.stderr.strip()}")
    assert hidden.stdout == "False\n", hidden.stderr


def test_containers_that_share_a_name_are_two_machines() -> None:
    here = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--pid", "--fork", sys.executable, "-c", ASK],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if here.returncode:
        pytest.skip(f"no pid namespaces here: {here.stderr.strip()}")
    assert here.stdout.split()[:1] == this_boot().split()[:1]
    assert here.stdout.strip() != this_boot()


def _earlier_life(now: datetime, lease: float) -> Node:
    """Return a node "pod" whose process is behind another pid namespace: a container of this machine's name."""
    return Node(
        node_id="earlier", runtime_id="earlier", name="pod", host=f"{this_boot().split()[0]} elsewhere 1", pid=1,
        pid_started=1, started_at=now, lease_until=now + timedelta(seconds=lease),
    )  # fmt: skip


def test_a_container_that_was_killed_comes_back_under_its_name(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, lease_seconds=1.5) as runtime:
            store = runtime.store
            await store.leases.join(_earlier_life(store.clock.now(), 1.5), now=store.clock.now())
            async with AgentRuntime(store_url, node="pod", config={"lease_seconds": 1.5}):
                lives = {node.node_id: node.lost for node in store.leases.nodes() if node.name == "pod"}
                assert lives.pop("earlier") is True, "what it held is taken over"
                assert list(lives.values()) == [False]

    run(main)


def test_a_container_that_lives_keeps_its_name(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, lease_seconds=30) as runtime:
            store, began = runtime.store, time.monotonic()
            node = _earlier_life(store.clock.now(), 30)
            await store.leases.join(node, now=store.clock.now())

            async def live() -> None:
                while True:
                    await asyncio.sleep(0.05)
                    until = store.clock.now() + timedelta(seconds=30)
                    assert await asyncio.to_thread(store.leases.heartbeat, "earlier", until=until, load=0.0, agents=0)

            beating = asyncio.create_task(live())
            with pytest.raises(ConfigError, match="in use by the live node") as caught:
                await AgentRuntime(store_url, node="pod", config={"lease_seconds": 30}).start()
            assert "`shoal nodes` says where" in caught.value.__notes__[0]
            assert time.monotonic() - began < 15, "one renewal is enough"
            beating.cancel()

    run(main)


@pytest.mark.spec("R50")
def test_a_task_that_kills_its_agent_fails_after_some_deaths_and_the_others_complete(store_url: str, run: Run) -> None:
    async def main() -> None:
        async def work(task: Task) -> str:
            if task.name == "poison":
                os._exit(3)
            return task.name

        options = {"isolation": "process", "restart": RestartPolicy(initial_seconds=0.01)}
        async with running(store_url, {"a": work}, options=options, max_agent_deaths=3) as runtime:
            names = ["good 0", "poison", "good 1", "good 2"]
            ids = [await runtime.submit_task(name, priority=n) for n, name in enumerate(names)]
            tasks = {task.name: task for task in await runtime.wait_for_tasks(ids, timeout_seconds=60)}
            poison = tasks.pop("poison")
            assert {task.status for task in tasks.values()} == {TaskStatus.COMPLETED}
            assert (poison.status, poison.error_type) == (TaskStatus.FAILED, DeadAgentError.__name__)
            with pytest.raises(TaskFailedError, match="exit code 3"):
                poison.result()
            interrupted = runtime.query_events("task_interrupted", task_id=poison.task_id)
            assert len(interrupted) == poison.attempt - 1
            assert poison.attempt == 3 or on_cluster(), "there a claim may be on its way when the agent dies"
            assert interrupted[0].details["deaths"] == 2, (
                "an attempt that had not begun when its agent died is no death"
            )
            check_story(runtime.list_tasks(), all_events(runtime))
            deaths = runtime.query_events("agent_failed")
            assert [event.details["process_exit_code"] for event in deaths] == [3, 3, 3]

    run(main)


@pytest.mark.sqlite
@pytest.mark.spec("R50")
def test_a_full_disk_loses_nothing_that_was_acknowledged(tmp_path: Path, store_url: str, run: Run) -> None:
    with script(NODE, "no_room", str(tmp_path / "shoal.db")) as node:
        assert [node.hear()["full"], node.hear()["full"]] == [True, True]
        said = node.hear()
        assert node.process.wait(timeout=30) == 0
    accepted = said["accepted"]
    assert said["refused"] >= 40 and len(accepted) >= 60 - 4, "the first submits of a full disk may still have fitted"

    async def main() -> None:
        async with running(store_url) as runtime:
            tasks = runtime.list_tasks(limit=1000)
            assert {task.task_id for task in tasks} == set(accepted), "stored is what was acknowledged"
            assert {task.status for task in tasks} == {TaskStatus.COMPLETED}
            assert Counter(said["executed"]) == Counter(accepted), "each once: outcomes waited for the disk"
            check_story(tasks, all_events(runtime))

    run(main)


def children() -> set[int]:
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@pytest.mark.spec("R51")
def test_after_a_stop_there_is_no_child_and_no_zombie(store_url: str, run: Run) -> None:
    async def main() -> None:
        before = children()
        agents = {f"p{n}": nothing for n in range(3)}
        async with running(store_url, agents, options={"isolation": "process"}) as runtime:
            await runtime.wait_for_tasks([await runtime.submit_task(str(n)) for n in range(6)])
            assert len(children() - before) >= 3
        assert children() - before == set()

    run(main)


@pytest.mark.spec("R51")
def test_two_seconds_after_a_kill_no_child_is_left(store_url: str) -> None:
    with script(NODE, "busy_children", store_url) as node:
        pids = node.hear()["pids"]
        found = {
            int(pid)
            for path in Path(f"/proc/{node.process.pid}/task").glob("*/children")
            for pid in path.read_text().split()
        }
        assert found >= set(pids)
        node.signal(signal.SIGKILL)
        node.process.wait()
        deadline = time.monotonic() + 2
        while left := [pid for pid in found if not gone(pid)]:
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.01)


def held() -> tuple[int, int]:
    """Return how many threads (those of asyncio's own pool come and go) and open files this process has."""
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    return len(threads), len(os.listdir("/proc/self/fd"))


@pytest.mark.long
@pytest.mark.spec("R51")
def test_two_hundred_starts_and_stops_leak_nothing(store_url: str, run: Run, rounds: Callable[[int, int], int]) -> None:
    cycles = rounds(200, 25 if on_cluster() else 60)  # what leaks one of anything in each is seen after a few

    async def main() -> None:
        runtime = AgentRuntime(store=store_url)

        async def cycle() -> None:
            await runtime.start()
            if not runtime.list_agents():
                await runtime.register_agent("inline", nothing)
                await runtime.register_agent("thread", nothing, isolation="thread")
            for name in ("inline", "thread"):
                await runtime.start_agent(name)
            await runtime.wait_for_tasks([await runtime.submit_task(name, agent=name) for name in ("inline", "thread")])
            await runtime.stop()

        for _ in range(3):
            await cycle()
        before = held()
        for _ in range(cycles):
            await cycle()
            assert asyncio.all_tasks() == {asyncio.current_task()}
        threads, files = held()
        assert threads <= before[0] and files <= before[1]

    run(main)
