"""What one lock promises, whether it is kept in a file or in a store."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
import threading
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from shoal import (
    AgentRuntime,
    LeaseLostError,
    LockManager,
    LockNotOwnedError,
    LockTimeoutError,
    RuntimeNotStartedError,
    ShoalError,
    get_lock,
    open_store,
)
from shoal.llm.locks.files import FilePlace
from tests.support.runtimes import until

Managed = Callable[[], AbstractAsyncContextManager[LockManager]]
Run = Callable[..., Any]


@pytest.mark.spec("O21")
def test_only_the_owner_releases(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            lock = manager.lock("file", "/x")
            async with lock as held:
                assert held is lock
                other = asyncio.create_task(manager.lock("file", "/x").release(), name="thief")
                with pytest.raises(LockNotOwnedError, match=r"^file:/x is held by asyncio task 'Task.*'thief'"):
                    await other
                with pytest.raises(LockNotOwnedError):
                    await asyncio.to_thread(asyncio.run, lock.release())
                with pytest.raises(LockTimeoutError):
                    await asyncio.create_task(_take(manager, timeout=0))
            with pytest.raises(LockNotOwnedError, match="nobody"):
                await lock.release()
            with pytest.raises(LockNotOwnedError):
                _ = lock.token

    run(main)


async def _take(manager: LockManager, timeout: float | None = None) -> int:
    async with manager.lock("file", "/x", timeout) as lock:
        return lock.token


@pytest.mark.spec("O21")
def test_the_owner_may_take_it_again_and_its_child_may_not(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            async with manager.lock("file", "/x") as outer:
                async with manager.lock("file", "/x", 0) as inner:
                    assert inner.token == outer.token
                    with pytest.raises(LockTimeoutError):
                        await asyncio.create_task(_take(manager, 0.02))
                with pytest.raises(LockTimeoutError):
                    await asyncio.create_task(_take(manager, 0.02))
                token = outer.token
            assert await asyncio.create_task(_take(manager, 5)) > token

    run(main)


@pytest.mark.spec("O21", "O50")
def test_a_time_out_names_the_lock_and_its_holder_and_is_counted(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            before = manager.stats("file")
            async with manager.lock("file", "/x"):
                waits = asyncio.create_task(_take(manager, 0.05))
                pattern = (
                    rf"^file:/x not free after 0\.05 s, held by asyncio task 'Task.*' of process {os.getpid()} on "
                )
                with pytest.raises(LockTimeoutError, match=pattern) as late:
                    await waits
                assert (late.value.namespace, late.value.key) == ("file", "/x")
                assert issubclass(LockTimeoutError, TimeoutError)
            stats = manager.stats("file")
            assert stats.timeouts - before.timeouts == 1 == stats.contentions - before.contentions
            assert stats.acquisitions - before.acquisitions == 1
            assert stats.total_wait_ms - before.total_wait_ms >= 50 <= stats.total_held_ms - before.total_held_ms
            assert stats.avg_wait_ms == pytest.approx(stats.total_wait_ms / (stats.acquisitions + stats.timeouts))
            assert manager.stats("nothing").acquisitions == 0
            assert manager.stats().acquisitions >= stats.acquisitions

    run(main)


def test_what_is_held_leaves_out_the_wait(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            before = manager.stats("held")

            async def take() -> None:
                async with manager.lock("held", "k"):
                    pass

            begun = time.monotonic()
            async with manager.lock("held", "k"):
                waits = asyncio.create_task(take())
                await asyncio.sleep(0.2)
                given = time.monotonic()
            await waits
            most = (2 * time.monotonic() - begun - given) * 1000
            stats = manager.stats("held")
            assert stats.acquisitions - before.acquisitions == 2
            assert stats.contentions - before.contentions == 1
            assert 200 <= stats.total_held_ms - before.total_held_ms <= most
            assert stats.total_wait_ms - before.total_wait_ms >= 190

    run(main)


def _in_line(manager: LockManager) -> int:
    """Return how many of this process are in a line, its first included."""
    place: Any = manager._place()
    lines = place._lines if isinstance(place, FilePlace) else place._leasing._lines
    return sum(len(behind) + 1 for behind in lines._waiting.values())


def test_first_come_first_served_over_loops_and_threads(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            order: list[int] = []

            async def on_loop(number: int) -> None:
                async with manager.lock("q", "k"):
                    order.append(number)

            def in_thread(number: int) -> None:
                with manager.lock("q", "k"):
                    order.append(number)

            waiting: list[asyncio.Future[None]] = []
            async with manager.lock("q", "k"):
                for number in range(9):
                    there = _in_line(manager)
                    if number % 3 == 2:
                        waiting.append(asyncio.ensure_future(asyncio.to_thread(in_thread, number)))
                    else:
                        waiting.append(asyncio.create_task(on_loop(number)))
                    await until(lambda there=there: _in_line(manager) > there)  # type: ignore[misc]
            await asyncio.gather(*waiting)
            assert order == list(range(9))

    run(main)


def test_who_is_cancelled_while_waiting_holds_nobody_up(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            async with manager.lock("file", "/x"):
                waits = [asyncio.create_task(_take(manager, 30)) for _ in range(4)]
                await asyncio.sleep(0.03)
                for task in (waits[0], waits[2]):
                    task.cancel()
                await asyncio.sleep(0.03)
            done = await asyncio.gather(*waits, return_exceptions=True)
            assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, True, False]
            assert await _take(manager, 5)

    run(main)


def test_cancelled_at_any_moment_it_is_free_again(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            for turns in range(12):
                task = asyncio.create_task(_take(manager))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await _take(manager, 10)

    run(main)


def test_tokens_rise_also_after_cleaning_up(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            tokens = [await _take(manager) for _ in range(3)]
            await asyncio.sleep(0.01)
            async with manager.lock("other", "held", ttl=86_400):
                gone = await manager.cleanup(0)
            if gone == 0:  # a lease is forgotten when its time is over: it was 30 s
                async with manager.lock("file", "/x", ttl=0.05) as short:
                    tokens.append(short.token)
                await asyncio.sleep(0.1)
                gone = await manager.cleanup(0)
            assert gone == 1, "the one that is held stays"
            tokens.append(await _take(manager))
            assert tokens == sorted(set(tokens)), tokens

    run(main)


def test_with_is_for_where_no_loop_runs(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            with pytest.raises(RuntimeError, match="async with"), manager.lock("file", "/x"):
                pass

            def blocking() -> tuple[int, int]:
                with manager.lock("file", "/x") as lock, manager.lock("file", "/x", 0) as again:
                    assert lock.token == again.token
                    first = lock.token
                with manager.lock("file", "/x") as lock:
                    return first, lock.token

            first, second = await asyncio.to_thread(blocking)
            assert second > first
            assert gc.collect() >= 0

    run(main)


@pytest.mark.spec("O50")
def test_a_lease_that_is_lost_is_told(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/shoal.db") as store:
            manager = LockManager(store)
            tokens: list[int] = []

            def steal() -> None:
                with manager.lock("file", "/x") as other:
                    tokens.append(other.token)

            thief = threading.Thread(target=steal)
            with pytest.raises(LeaseLostError, match="file:/x ended while it was held"):
                async with manager.lock("file", "/x", ttl=0.1) as lock:
                    tokens.append(lock.token)
                    thief.start()
                    thief.join(20)  # blocks the loop, so that nothing is renewed
            assert tokens[1] > tokens[0]
            with pytest.raises(ValueError, match="the body's own") as told:
                async with manager.lock("file", "/x", ttl=0.05):
                    time.sleep(0.1)
                    raise ValueError("the body's own")
            assert any("ended while it was held" in note for note in told.value.__notes__)

    run(main)


def test_a_held_lease_is_renewed(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/shoal.db") as store:
            manager = LockManager(store)

            def in_thread() -> None:
                with manager.lock("thread", "k", ttl=0.15):
                    time.sleep(0.5)

            async with manager.lock("file", "/x", ttl=0.15) as lock:
                beside = asyncio.ensure_future(asyncio.to_thread(in_thread))
                await asyncio.sleep(0.5)
                assert lock.token == 1
                with pytest.raises(LockTimeoutError):
                    await asyncio.create_task(_take(manager, 0))
            await beside

    run(main)


def test_a_lease_whose_owner_ended_without_releasing_ends_too(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with open_store(f"sqlite:///{tmp_path}/shoal.db") as store:
            manager = LockManager(store)
            forgetful = asyncio.create_task(manager.lock("file", "/x", ttl=0.3).acquire())
            assert (await forgetful).token == 1
            thread = threading.Thread(target=manager.lock("file", "/y", ttl=0.3).__enter__)
            thread.start()
            async with manager.lock("file", "/x", 20) as lock, manager.lock("file", "/y", 20) as other:
                assert (lock.token, other.token) == (2, 2)

    run(main)


def test_two_stores_are_two_places(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with open_store("sqlite://:memory:") as one, open_store("sqlite://:memory:") as two:
            async with LockManager(one).lock("a", "b", 0), LockManager(two).lock("a", "b", 0):
                pass
            assert LockManager(one).stats().acquisitions == 1

    run(main)


def test_the_names_of_locks_do_not_run_together(managed: Managed, run: Run) -> None:
    async def main() -> None:
        async with managed() as manager:
            names = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c")]
            for namespace, key in names:
                await manager.lock(namespace, key, 0).acquire()
            for namespace, key in names:
                await manager.lock(namespace, key).release()

    run(main)


def test_the_folder_is_the_users_own(lock_folder: Path) -> None:
    with get_lock("file", "/secret/path") as lock:
        assert lock.token == 1
        files = list(lock_folder.iterdir())
        assert stat.S_IMODE(lock_folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
        assert "secret" not in "".join(path.name for path in files)


@pytest.mark.spec("O50")
def test_a_folder_that_is_not_ones_own_is_refused(lock_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    lock_folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShoalError, match="is not a folder of this user"), get_lock("a", "b"):
        pass


@pytest.mark.spec("O50")
@pytest.mark.parametrize(
    ("args", "named"),
    [
        (("", "k"), "namespace"),
        ((7, "k"), "namespace"),
        (("n", "k", -1), "timeout"),
        (("n", "k", float("nan")), "timeout"),
        (("n", "k", "5"), "timeout"),
    ],
)
def test_bad_arguments(args: tuple[Any, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        get_lock(*args)


@pytest.mark.spec("O50")
@pytest.mark.parametrize("ttl", [0, -1, 0.01, 1e9, float("inf"), True, "30"])
def test_bad_ttl(ttl: Any) -> None:
    with pytest.raises(ValueError, match=r"ttl must be seconds from 0\.05 to 86400"):
        get_lock("n", "k", ttl=ttl)


@pytest.mark.spec("O50")
def test_bad_places(run: Run) -> None:
    for conn in ("sqlite://:memory:", 7, object()):
        with pytest.raises(TypeError, match="conn must be an AgentRuntime, or a store"):
            LockManager(conn)  # type: ignore[arg-type]
    manager = LockManager(AgentRuntime(store="sqlite://:memory:"))

    async def main() -> None:
        with pytest.raises(RuntimeNotStartedError):
            await manager.lock("a", "b").acquire()
        with pytest.raises(ValueError, match="max_age_seconds"):
            await LockManager().cleanup(-1)

    run(main)
