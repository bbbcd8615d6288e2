"""Pools of real threads."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from shoal.errors import PoolFullError, RequestError, RequestTimeout, RuntimeStateError
from shoal.kernel.threads import Interrupted
from shoal.services.pools import Pool, PoolStats
from shoal.testing.clock import VirtualClock
from shoal.testing.loop import VirtualLoop
from tests.support.instances import in_virtual_time
from tests.support.runtimes import until

Run = Callable[..., Any]


def cpu(**options: Any) -> Pool:
    return Pool("cpu", **{"min_size": 2, "max_size": 4, "max_queue": 100, **options})


def io(**options: Any) -> Pool:
    return Pool("io", **{"min_size": 5, "max_size": 20, "max_queue": 1000, **options})


def stats(size: int, busy: int, waiting: int = 0, refused: int = 0, stuck: int = 0) -> PoolStats:
    return PoolStats(size=size, busy=busy, waiting=waiting, refused=refused, stuck=stuck)


async def offered(pool: Pool, count: int, fn: Callable[[], Any]) -> tuple[list[asyncio.Future[Any]], int]:
    """Offer so many pieces of work; return what was taken, and how many were refused."""
    taken, refused = [], 0
    for _ in range(count):
        try:
            taken.append(pool.submit(fn))
        except PoolFullError as error:
            refused += 1
            assert (error.queue_name, error.max_size) == (pool.name, pool.capacity)
    return taken, refused


@pytest.mark.spec("S24", "S49")
def test_the_numbers_of_what_is_taken_and_refused_and_the_sizes(run: Run) -> None:
    async def main() -> None:
        go_on = threading.Event()
        small, large = cpu(idle=0.2), io(idle=0.2)
        cpu_taken, cpu_refused = await offered(small, 200, go_on.wait)
        io_taken, io_refused = await offered(large, 1500, go_on.wait)
        assert (len(cpu_taken), cpu_refused) == (104, 96)
        assert (len(io_taken), io_refused) == (1020, 480)
        assert small.stats() == stats(4, 4, 100, refused=96)
        assert large.stats() == stats(20, 20, 1000, refused=480)
        go_on.set()
        assert all(await asyncio.gather(*cpu_taken, *io_taken))
        await until(lambda: small.stats().size == 2 and large.stats().size == 5)
        await asyncio.sleep(0.5)
        assert (small.stats(), large.stats()) == (stats(2, 0, refused=96), stats(5, 0, refused=480))
        await small.close()
        await large.close()

    run(main)


@pytest.mark.spec("S24")
def test_never_more_threads_than_its_size_and_they_end(run: Run) -> None:
    async def main() -> None:
        known = set(threading.enumerate())
        lock, now, most = threading.Lock(), 0, 0

        def work() -> threading.Thread:
            nonlocal now, most
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= 1
            return threading.current_thread()

        pool = cpu(max_queue=1000)
        threads = set(await asyncio.gather(*(pool.run(work) for _ in range(300))))
        assert most == 4
        assert len(threads) == 4
        assert all(thread.daemon for thread in threads)
        await pool.close()
        await until(lambda: not set(threading.enumerate()) - known)

    run(main)


@pytest.mark.spec("S24")
def test_time_outs_and_errors_really_come(run: Run) -> None:
    async def main() -> None:
        pool = cpu()
        go_on = threading.Event()
        with pytest.raises(RequestTimeout) as late:
            await pool.run(go_on.wait, timeout=0.05)
        assert late.value.code == "TIMEOUT"
        assert pool.stats() == stats(1, 1, stuck=1)

        def broken(text: str) -> None:
            raise KeyError(text)

        with pytest.raises(KeyError, match="no such thing"):
            await pool.run(broken, "no such thing")
        with pytest.raises(TimeoutError) as own:
            await pool.run(_times_out)
        assert not isinstance(own.value, RequestTimeout), "what the work raises is its own"
        go_on.set()
        await until(lambda: pool.stats().busy == 0)
        assert pool.stats() == stats(2, 0)
        await pool.close()

    run(main)


def _times_out() -> None:
    raise TimeoutError("mine")


def test_a_stuck_thread_keeps_its_place_until_it_ends(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        pool = cpu(min_size=0, max_size=1, max_queue=1)
        go_on = threading.Event()

        def fails_in_the_end() -> None:
            go_on.wait()
            raise OSError("too late")

        with pytest.raises(RequestTimeout):
            await pool.run(fails_in_the_end, timeout=0.02)
        ran: list[int] = []
        with pytest.raises(RequestTimeout):
            await pool.run(ran.append, 1, timeout=0.02)
        assert pool.stats() == stats(1, 1, stuck=1), "what waited was withdrawn"
        following = pool.submit(ran.append, 2)
        assert pool.stats().waiting == 1
        with pytest.raises(PoolFullError):
            await pool.run(ran.append, 3)
        go_on.set()
        await following
        assert ran == [2]
        assert "too late" in caplog.text
        await pool.close()

    run(main)


def test_work_that_was_given_up_while_it_waited_never_runs(run: Run) -> None:
    async def main() -> None:
        pool = cpu(max_size=2, min_size=0)
        go_on = threading.Event()
        ran: list[int] = []
        first = [pool.submit(go_on.wait) for _ in range(2)]
        waiting = [pool.submit(ran.append, number) for number in range(10)]
        for future in waiting[::2]:
            future.cancel()
        go_on.set()
        await asyncio.gather(*first, *waiting[1::2])
        assert sorted(ran) == [1, 3, 5, 7, 9]
        await pool.close()

    run(main)


@pytest.mark.spec("S25", "S49")
def test_it_closes_in_time_with_work_that_never_ends(run: Run) -> None:
    async def main() -> None:
        never = threading.Event()
        pool = cpu(max_size=2)
        stuck = asyncio.ensure_future(pool.run(never.wait, timeout=0.05))
        endless = asyncio.ensure_future(pool.run(never.wait))
        waiting = asyncio.ensure_future(pool.run(never.wait))
        await asyncio.wait([stuck])
        assert pool.stats() == stats(2, 2, 1, stuck=1)
        begun = time.monotonic()
        await pool.close(grace=0.3)
        assert 0.3 <= time.monotonic() - begun < 1.3
        for given_up in (endless, waiting):
            with pytest.raises(RequestError, match="CANCELLED"):
                await given_up
        assert pool.stats() == stats(0, 0)
        with pytest.raises(RuntimeStateError, match="closed"):
            await pool.run(never.wait)
        await pool.close()
        never.set()
        with pytest.raises(RequestTimeout):
            await stuck

    run(main)


@pytest.mark.spec("S24", "S25", "S49")
def test_thirty_seconds_for_work_ten_for_an_end_sixty_for_the_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """In virtual time, which here does not wait for threads: they never end."""
    monkeypatch.setattr(VirtualLoop, "run_in_executor", asyncio.SelectorEventLoop.run_in_executor)
    never = threading.Event()

    async def main(clock: VirtualClock) -> None:
        pool = cpu()
        with pytest.raises(RequestTimeout, match="within 30 s"):
            await pool.run(never.wait)
        assert clock.monotonic() == 30
        endless = pool.submit(never.wait)
        await pool.close()
        assert clock.monotonic() == 40
        with pytest.raises(RequestError, match="CANCELLED"):
            await endless

    in_virtual_time(main)

    async def idle(clock: VirtualClock) -> None:
        pool = cpu(min_size=1)
        begun = threading.Event()
        pair = [pool.submit(begun.wait) for _ in range(2)]
        begun.set()
        with VirtualLoop.outside(asyncio.get_running_loop()):  # type: ignore[arg-type]
            await asyncio.wait(pair)
        ended = clock.monotonic()
        await clock.sleep(59.9)
        assert pool.stats().size == 2
        await clock.sleep(0.1)
        assert (pool.stats().size, round(clock.monotonic() - ended)) == (1, 60)
        await pool.close()

    in_virtual_time(idle)
    never.set()


def test_what_was_taken_is_done_before_it_closes(run: Run) -> None:
    async def main() -> None:
        pool = cpu(max_size=2)
        ran: list[int] = []

        def work(number: int) -> None:
            time.sleep(0.01)
            ran.append(number)

        taken = [pool.submit(work, number) for number in range(20)]
        await pool.close()
        assert sorted(ran) == list(range(20))
        assert all(future.done() for future in taken)

    run(main)


ENDLESS = """
import asyncio, threading
from shoal.services.pools import Pool

async def main():
    pool = Pool("cpu", min_size=0, max_size=1, max_queue=0)
    late = asyncio.ensure_future(pool.run(threading.Event().wait, timeout=0.01))
    late.add_done_callback(lambda end: print(end.exception()))
    await asyncio.sleep(0.1)
    await pool.close(grace=0.1)

asyncio.run(main())
"""


def test_the_program_ends_quietly_with_a_thread_that_does_not() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0
    assert ended.stdout.startswith("TIMEOUT: ")
    assert "closes with 1 at work" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_context_variables_travel(run: Run) -> None:
    word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")

    async def main() -> None:
        pool = cpu(max_size=1, min_size=1)

        async def ask(text: str) -> str:
            word.set(text)
            return await pool.run(word.get)

        assert await asyncio.gather(*(ask(f"w{n}") for n in range(5))) == [f"w{n}" for n in range(5)]
        assert await pool.run(word.get) == "none"
        await pool.close()

    run(main)


class Odd(BaseException):
    """No ordinary error."""


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), Odd("odd"), Interrupted()])
def test_a_thread_survives_whatever_its_work_raises(run: Run, error: BaseException) -> None:
    async def main() -> None:
        pool = cpu(max_size=1, min_size=1)

        def work() -> None:
            raise error

        with pytest.raises((Exception, Interrupted)):
            await pool.run(work)
        assert await pool.run(int, "7") == 7
        assert pool.stats().size == 1
        await pool.close()

    run(main)


def test_an_asynchronous_function_is_refused(run: Run) -> None:
    async def work() -> None:
        raise AssertionError

    fn: Any = work

    async def main() -> None:
        pool = cpu()
        with pytest.raises(TypeError, match="asynchronous"):
            await pool.run(fn)
        await pool.close()

    run(main)


def test_a_pool_belongs_to_its_loop(run: Run) -> None:
    async def main() -> None:
        pool = cpu()
        assert await pool.run(int, "7") == 7

        async def elsewhere() -> None:
            with pytest.raises(RuntimeStateError, match="another event loop"):
                await pool.run(int, "7")

        await asyncio.to_thread(asyncio.run, elsewhere())
        await pool.close()

    run(main)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "fibre"}, "kind must be one of thread, process"),
        ({"min_size": -1}, "min_size must be a whole number of at least 0"),
        ({"max_size": 0}, "max_size must be a whole number of at least 2"),
        ({"max_size": 1}, "max_size must be a whole number of at least 2"),
        ({"min_size": 0, "max_size": 0}, "max_size must be a whole number of at least 1"),
        ({"max_size": 2.5}, "max_size must be a whole number"),
        ({"max_queue": -1}, "max_queue must be a whole number of at least 0"),
        ({"idle": 0}, "idle must be positive"),
    ],
)
def test_bad_sizes_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        cpu(**options)


@pytest.mark.parametrize("timeout", [0, -1])
def test_bad_times_are_refused(run: Run, timeout: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="timeout must be positive"):
            await cpu().run(int, timeout=timeout)

    run(main)
