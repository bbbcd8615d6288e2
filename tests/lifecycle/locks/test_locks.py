"""Locks across event loops, threads and processes; and what becomes of one whose holder is killed."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, LockTimeoutError, Task, UserContextStore, get_lock, open_store
from tests.lifecycle.locks import taker
from tests.lifecycle.locks.taker import TTL_SECONDS, inside, managed, take
from tests.support.backend import store_at
from tests.support.runtimes import until

pytestmark = pytest.mark.usefixtures("backend")

PROGRAM = taker.__file__
GUARD_SECONDS = 90
Rounds = Callable[[int, int], int]
Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep locks on files in a folder of the test's own."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture(params=["files", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """``files``, or the URL of a store."""
    return "files" if request.param == "files" else store_at(tmp_path / "shoal.db")


@contextmanager
def process(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Run taker.py; end it if it still runs."""
    child = subprocess.Popen([sys.executable, PROGRAM, *map(str, words)], stdout=subprocess.PIPE, text=True)
    try:
        with child:
            try:
                yield child
            finally:
                if child.poll() is None:
                    child.kill()
    finally:
        child.wait()


def _check_tokens(folder: Path, number: int) -> None:
    tokens = [int(line) for line in (folder / "tokens").read_text().splitlines()]
    assert len(tokens) == number
    assert all(earlier < later for earlier, later in itertools.pairwise(tokens)), "tokens rise"


@pytest.mark.long
@pytest.mark.spec("O22")
def test_two_event_loops_in_two_threads(place: str, tmp_path: Path, rounds: Rounds, run: Run) -> None:
    each = rounds(5000, 150)

    async def main() -> None:
        async with managed(place) as manager:
            loops = [asyncio.to_thread(asyncio.run, take(manager, tmp_path, each)) for _ in range(2)]
            await asyncio.gather(*loops)

    run(main, GUARD_SECONDS * (10 if each > 1000 else 1))
    _check_tokens(tmp_path, 2 * each)


@pytest.mark.long
@pytest.mark.spec("O22")
def test_two_threads_without_event_loops(place: str, tmp_path: Path, rounds: Rounds, run: Run) -> None:
    each = rounds(5000, 150)

    async def main() -> None:
        async with managed(place) as manager:

            def in_thread() -> None:
                for _ in range(each):
                    with manager.lock("race", "k", 60) as lock:
                        inside(tmp_path, lock.token)

            await asyncio.gather(asyncio.to_thread(in_thread), asyncio.to_thread(in_thread))

    run(main, GUARD_SECONDS * (10 if each > 1000 else 1))
    _check_tokens(tmp_path, 2 * each)


@pytest.mark.long
@pytest.mark.spec("O22")
def test_two_processes(place: str, tmp_path: Path, rounds: Rounds) -> None:
    each = rounds(5000, 150)
    with process(place, tmp_path, each) as one, process(place, tmp_path, each) as two:
        codes = [child.wait(GUARD_SECONDS * 10) for child in (one, two)]
    assert codes == [0, 0]
    _check_tokens(tmp_path, 2 * each)


@pytest.mark.long
@pytest.mark.spec("O22")
def test_two_processes_and_the_threads_of_a_third(place: str, tmp_path: Path, rounds: Rounds, run: Run) -> None:
    each = rounds(1000, 50)

    async def main() -> None:
        async with managed(place) as manager:
            await asyncio.gather(
                take(manager, tmp_path, each),
                *(asyncio.to_thread(asyncio.run, take(manager, tmp_path, each)) for _ in range(2)),
            )

    with process(place, tmp_path, each) as one, process(place, tmp_path, each) as two:
        run(main, GUARD_SECONDS * (10 if each > 500 else 1))
        codes = [child.wait(GUARD_SECONDS * 10) for child in (one, two)]
    assert codes == [0, 0]
    _check_tokens(tmp_path, 5 * each)


@pytest.mark.spec("O22")
def test_a_killed_holder_has_it_no_longer_than_its_lease(place: str, tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with managed(place) as manager:
            with process(place, tmp_path, 0, "hold") as holder:
                assert holder.stdout is not None
                token = int(await asyncio.to_thread(holder.stdout.readline))
                with pytest.raises(LockTimeoutError, match=rf"held by asyncio task .* of process {holder.pid} on "):
                    await manager.lock("race", "k", TTL_SECONDS * 2).acquire()  # it was renewed
                waits = asyncio.create_task(manager.lock("race", "k", 60).acquire())
                await asyncio.sleep(0.1)
                os.kill(holder.pid, signal.SIGKILL)
                begun = time.monotonic()
                assert (await waits).token > token
                assert time.monotonic() - begun <= TTL_SECONDS + 1

    run(main)


@pytest.mark.spec("O22")
def test_holder_and_first_waiter_killed(tmp_path: Path, run: Run) -> None:
    place = store_at(tmp_path / "shoal.db")

    async def main() -> None:
        async with managed(place) as manager, open_store(place) as store:
            with process(place, tmp_path, 0, "hold") as holder, process(place, tmp_path, 0, "hold") as first:

                def ahead() -> int:
                    return store.leases.standing("lock:race:k", "", now=datetime.now(UTC)).waiting

                await until(lambda: ahead() == 1)
                waits = asyncio.create_task(manager.lock("race", "k", 60).acquire())
                await until(lambda: ahead() == 2)
                for child in (holder, first):
                    os.kill(child.pid, signal.SIGKILL)
                begun = time.monotonic()
                await waits
                assert time.monotonic() - begun <= TTL_SECONDS + 1

    run(main)


def test_a_forked_child_of_a_killed_holder_holds_nothing(tmp_path: Path, run: Run) -> None:
    context = multiprocessing.get_context("fork")
    said, say = context.Pipe(duplex=False)

    def hold_and_fork() -> None:
        with get_lock("race", "k") as lock:
            child = context.Process(target=time.sleep, args=(60,), daemon=False)
            child.start()
            say.send((lock.token, child.pid))
            time.sleep(60)

    holder = context.Process(target=hold_and_fork)
    holder.start()
    token, grandchild = said.recv()
    try:
        with pytest.raises(LockTimeoutError), get_lock("race", "k", 0):
            pass
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGKILL)
        with get_lock("race", "k", 30) as lock:
            assert lock.token == token + 1
    finally:
        os.kill(grandchild, signal.SIGKILL)
        holder.join()
        said.close()
        say.close()


def test_a_forked_child_does_not_hold_what_its_parent_does(run: Run) -> None:
    context = multiprocessing.get_context("fork")
    said, say = context.Pipe(duplex=False)

    def try_it() -> None:
        try:
            with get_lock("race", "k", 0.05):
                say.send("taken")
        except LockTimeoutError as error:
            say.send(str(error))

    with get_lock("race", "k"):
        child = context.Process(target=try_it)
        child.start()
        answer = said.recv()
        child.join()
        assert f"held by thread 'MainThread' of process {os.getpid()}" in answer
    said.close()
    say.close()


@pytest.mark.spec("O20")
def test_two_processes_update_one_user_at_once(tmp_path: Path, run: Run) -> None:
    place = store_at(tmp_path / "shoal.db")

    async def main() -> None:
        async with open_store(place) as store:
            with process(place, tmp_path, 0, "update", 0) as one, process(place, tmp_path, 0, "update", 1) as two:
                assert [child.wait(GUARD_SECONDS) for child in (one, two)] == [0, 0]
            assert await UserContextStore(store).get("phil") == {f"key{n}": n for n in range(100)}

    run(main)


class Taker(BaseAgent):
    """Takes the lock in its task, in a thread of it, and in asyncio tasks of it."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        folder, rounds = Path(task.input_data["folder"]), task.input_data["rounds"]

        def in_thread() -> None:
            for _ in range(rounds):
                with get_lock("race", "k", 60) as lock:
                    inside(folder, lock.token)

        async def on_loop() -> None:
            for _ in range(rounds):
                async with get_lock("race", "k", 60) as lock:
                    inside(folder, lock.token)
                await asyncio.sleep(0)

        await asyncio.gather(on_loop(), on_loop(), asyncio.to_thread(in_thread))
        return {"pid": os.getpid()}


@pytest.mark.long
@pytest.mark.spec("O22")
def test_agents_of_two_runtimes_in_loop_thread_and_process(tmp_path: Path, rounds: Rounds, run: Run) -> None:
    each = rounds(300, 15)
    url = store_at(tmp_path / "shoal.db")

    async def main() -> None:
        async with AgentRuntime(store=url) as one, AgentRuntime(store=url) as two:
            tasks = []
            places: list[tuple[AgentRuntime, str, Any]] = [
                (one, "inline", "inline"), (one, "thread", "thread"), (one, "process", "process"),
                (two, "far", "inline"), (two, "farther", "process"),
            ]  # fmt: skip
            for runtime, name, isolation in places:
                await runtime.register_agent(name, Taker, isolation=isolation)
                await runtime.start_agent(name)
                wanted = {"folder": str(tmp_path), "rounds": each}
                tasks.append((runtime, await runtime.submit_task("take", wanted, agent=name)))
            done = [await runtime.wait_for_task(task) for runtime, task in tasks]
            assert [task.error_message for task in done] == [None] * 5

    run(main, GUARD_SECONDS * (10 if each > 100 else 1))
    _check_tokens(tmp_path, 15 * each)


class Holder(BaseAgent):
    """Takes the lock, and then does not end."""

    async def execute_task(self, task: Task) -> None:
        async with get_lock("race", "k", ttl=TTL_SECONDS):
            Path(task.input_data["folder"], "held").touch()
            await asyncio.sleep(600)


@pytest.mark.spec("O22")
def test_a_lock_of_an_agent_whose_process_is_killed(tmp_path: Path, run: Run) -> None:
    url = store_at(tmp_path / "shoal.db")

    async def main() -> None:
        async with AgentRuntime(store=url, config={"max_agent_deaths": 1}) as runtime, managed(url) as manager:
            await runtime.register_agent("holder", Holder, isolation="process")
            await runtime.start_agent("holder")
            task = await runtime.submit_task("hold", {"folder": str(tmp_path)})
            await until(lambda: (tmp_path / "held").exists())
            with pytest.raises(LockTimeoutError):
                await manager.lock("race", "k", TTL_SECONDS * 2).acquire()  # it was renewed
            pid = runtime.get_agent_status("holder").process_id
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            begun = time.monotonic()
            async with manager.lock("race", "k", 60) as lock:
                assert time.monotonic() - begun <= TTL_SECONDS + 1 and lock.token == 2
            await runtime.cancel_task(task)

    run(main)
