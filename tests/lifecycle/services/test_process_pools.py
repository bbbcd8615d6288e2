"""Pools of real processes, those of the runtime around the pool."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import DeadAgentError, PoolFullError, RequestError, RequestTimeout, RuntimeStateError
from shoal.kernel.failure import RemoteError
from shoal.kernel.task import Task, TaskStatus
from shoal.services.pools import Pool
from tests.support.backend import store_at
from tests.support.processes import gone
from tests.support.runtimes import running, until

pytestmark = pytest.mark.usefixtures("backend")

Run = Callable[..., Any]


def pool_of(**options: Any) -> Pool:
    return Pool("numbers", kind="process", **{"min_size": 0, "max_size": 2, "max_queue": 10, **options})


def meets(folder: str, name: str) -> int:
    """Work with the processor until another process of the pool has begun to work, too."""
    mine = str(os.getpid())
    Path(folder, f"{name}.begun").write_text(mine)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(path.read_text() not in ("", mine) for path in Path(folder).glob("*.begun")):
            return os.getpid()
        sum(range(10_000))
    raise AssertionError("nobody else works")


def say_and_wait(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(600)


async def wait() -> None:
    raise AssertionError


in_vain: Any = wait


def refuse() -> None:
    raise RequestError("INSUFFICIENT_FUNDS", "no money", {"missing": 7})


def within(tmp_path: Path, work: Callable[[], Any], **options: Any) -> Callable[[], Any]:
    """Return a coroutine function that runs *work* in an agent of a runtime."""

    class Agent:
        async def execute_task(self, task: Task) -> Any:
            return await work()

    async def main() -> Any:
        tmp_path.mkdir(exist_ok=True)
        async with running(store_at(tmp_path / "shoal.db"), {"agent": Agent}, options=options) as runtime:
            task = await runtime.wait_for_task(await runtime.submit_task("pool", agent="agent"))
            assert task.status is TaskStatus.COMPLETED, task.error_message
            return task.output_data

    return main


@pytest.mark.spec("S26")
def test_four_pieces_of_work_run_in_two_processes_at_once(run: Run, tmp_path: Path) -> None:
    async def work() -> Any:
        pool = pool_of()
        pids = await asyncio.gather(*(pool.run(meets, str(tmp_path), f"{number}") for number in range(4)))
        assert pool.stats().size == 2
        await pool.close()
        assert pool.stats().size == 0
        assert all(gone(pid) for pid in pids)
        return pids

    pids = set(run(within(tmp_path, work)))
    assert len(pids) == 2, "each has met the other at work"
    assert os.getpid() not in pids


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_work_its_errors_and_its_answers_at_every_isolation(run: Run, tmp_path: Path, isolation: str) -> None:
    async def work() -> Any:
        pool = pool_of()
        offset = 40
        assert await pool.run(lambda number: {"is": number + offset}, 2) == {"is": 42}
        with pytest.raises(RemoteError, match="division by zero") as raised:
            await pool.run(lambda: 1 / 0)
        assert raised.value.error_type == "ZeroDivisionError"
        with pytest.raises(RemoteError, match="asynchronous"):
            await pool.run(in_vain)
        with pytest.raises(DeadAgentError):
            await pool.run(os._exit, 3)
        with pytest.raises(Exception, match="result is a set"):
            await pool.run(lambda: {1, 2})
        lock = threading.Lock()
        with pytest.raises(Exception, match="cannot travel"):
            await pool.run(lambda: lock, timeout=20)
        with pytest.raises(RequestError) as refused:
            await pool.run(refuse)
        assert (refused.value.code, refused.value.details) == ("INSUFFICIENT_FUNDS", {"missing": 7})
        assert await pool.run(os.getppid) > 0
        await pool.close()
        return {"pid": os.getpid()}

    assert (run(within(tmp_path, work, isolation=isolation))["pid"] == os.getpid()) is (isolation != "process")


@pytest.mark.spec("S25")
def test_what_takes_too_long_is_killed_and_gives_its_place_back(run: Run, tmp_path: Path) -> None:
    async def work() -> Any:
        pool = pool_of(max_size=1, max_queue=1)
        path = tmp_path / "pid"
        assert await pool.run(max, 3, 7) == 7
        with pytest.raises(RequestTimeout):
            await pool.run(say_and_wait, str(path), timeout=2)
        assert await pool.run(max, 3, 7) == 7
        assert pool.stats().stuck == 0
        pid = int(path.read_text())
        path.unlink()

        endless = asyncio.ensure_future(pool.run(say_and_wait, str(path)))
        waiting = asyncio.ensure_future(pool.run(max, 3, 7))
        await until(lambda: path.exists() and path.read_text())
        with pytest.raises(PoolFullError):
            await pool.run(max, 3, 7)
        begun = time.monotonic()
        await pool.close(grace=0.2)
        assert time.monotonic() - begun < 1.2
        ends = await asyncio.gather(endless, waiting, return_exceptions=True)
        assert [getattr(end, "code", end) for end in ends] == ["CANCELLED", "CANCELLED"]
        return {"killed": [pid, int(path.read_text())]}

    for pid in run(within(tmp_path, work))["killed"]:
        assert gone(pid)


def test_without_a_runtime_there_are_no_processes(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeStateError, match="needs a runtime"):
            await pool_of().run(max, 3, 7)

    run(main)


def test_a_process_is_kept_replaced_when_it_died_and_let_go_when_idle(run: Run, tmp_path: Path) -> None:
    async def work() -> Any:
        pool = pool_of(min_size=1, idle=0.3)
        first = await pool.run(os.getpid)
        assert [await pool.run(os.getpid) for _ in range(20)] == [first] * 20
        os.kill(first, signal.SIGKILL)
        second = await pool.run(os.getpid)  # at once: nobody has noticed the death yet
        assert second != first
        pids = set(await asyncio.gather(*(pool.run(meets, str(tmp_path), f"{n}") for n in range(2))))
        assert len(pids) == 2
        await until(lambda: pool.stats().size == 1)
        await until(lambda: sum(gone(pid) for pid in pids) == 1)
        assert await pool.run(os.getpid) in pids
        await pool.close()
        return {"pids": [first, *pids]}

    assert all(gone(pid) for pid in run(within(tmp_path, work))["pids"])


MODULE = """
WORD = "from nowhere"

def say():
    return WORD
"""


def test_functions_of_a_module_that_no_import_finds(run: Run, tmp_path: Path) -> None:
    """As those of a file that was loaded from a folder of agents."""
    (tmp_path / "loaded.py").write_text(MODULE)
    spec = importlib.util.spec_from_file_location("loaded_from_nowhere", tmp_path / "loaded.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def work() -> Any:
        sys.modules["loaded_from_nowhere"] = module
        pool = pool_of()
        try:
            return {"said": await pool.run(module.say), "partly": await pool.run(functools.partial(module.say))}
        finally:
            await pool.close()
            del sys.modules["loaded_from_nowhere"]

    assert run(within(tmp_path, work)) == {"said": "from nowhere", "partly": "from nowhere"}


def test_no_process_outlives_an_agents_own_process(run: Run, tmp_path: Path) -> None:
    async def work() -> Any:
        pool = pool_of(min_size=2)
        return {"pid": await pool.run(os.getpid), "kept": id(pool)}

    assert gone(run(within(tmp_path, work, isolation="process"))["pid"])


def test_a_folder_that_cannot_be_made_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("deep" * 30)
    deep.mkdir()

    async def work() -> Any:
        monkeypatch.setattr(tempfile, "tempdir", str(deep))
        pool = pool_of()
        with pytest.raises(OSError, match="too long"):
            await pool.run(max, 3, 7)
        assert pool.stats().busy == 0
        monkeypatch.undo()
        assert await pool.run(max, 3, 7) == 7
        await pool.close()
        return {}

    run(within(tmp_path, work))
    assert list(deep.iterdir()) == []
