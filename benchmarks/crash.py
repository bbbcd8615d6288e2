"""Tasks whose workers are killed with ``kill -9``: how many were not executed 30 s after the last kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.common import folder
from benchmarks.measurement import Bound, Entry, Measurement

ARGUMENTS = {"count": 300, "kills": 3}
LANES = 4
TASK_SECONDS = 0.01
REST_SECONDS = 30.0


def crash(worker: str, count: int, kills: int) -> dict[str, float]:
    """Submit *count* tasks, kill the worker *kills* times, and count what was executed, and how often."""
    with folder() as path:
        command = [sys.executable, "-m", "benchmarks.child", worker]
        arguments = json.dumps({"path": str(path), "count": count})
        subprocess.run([*command, arguments], check=True, timeout=60, stdout=subprocess.DEVNULL)
        for number in range(kills):
            _work_until(command, path, (number + 1) * count // (kills + 1), kill=True)
        begun = time.monotonic()
        _work_until(command, path, count, kill=False)
        began, ended = marks(path)
        return {
            "not_executed": count - len(ended),
            "executed_again": sum(began.values()) - len(began),
            "rest_s": time.monotonic() - begun,
        }


def _work_until(command: list[str], path: Path, ended: int, *, kill: bool) -> None:
    """Let a worker run until so many tasks have ended, at most 30 s; then kill it, as a crash or to clean up."""
    arguments = json.dumps({"path": str(path), "count": 0})
    worker = subprocess.Popen([*command, arguments], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + REST_SECONDS
        while len(marks(path)[1]) < ended and time.monotonic() < deadline:
            if worker.poll() is not None:
                raise RuntimeError(f"the worker ended by itself with {worker.returncode}")
            time.sleep(0.01)
        if not kill:
            time.sleep(0.5)  # what is executed twice shows itself
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def mark(path: Path, word: str, number: int) -> None:
    """Note that a task began or ended, in one append."""
    handle = os.open(path / "marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{word} {number}\n".encode())
    os.close(handle)


def marks(path: Path) -> tuple[Counter[int], Counter[int]]:
    """Return how often each task began and ended."""
    began: Counter[int] = Counter()
    ended: Counter[int] = Counter()
    if (path / "marks").exists():
        for line in (path / "marks").read_text().splitlines():
            word, number = line.split()
            (began if word == "began" else ended)[int(number)] += 1
    return began, ended


def shoal(path: str, count: int) -> dict[str, float]:
    """Submit *count* tasks; with 0, work until killed."""
    return asyncio.run(_shoal(Path(path), count))


async def _shoal(path: Path, count: int) -> dict[str, float]:
    from benchmarks.ours import begin, runtime
    from shoal.runtime import Task, TaskSpec

    async def work(task: Task) -> None:
        mark(path, "began", task.input_data["number"])
        await asyncio.sleep(TASK_SECONDS)
        mark(path, "ended", task.input_data["number"])

    async with runtime(path) as here:
        if count:
            await here.submit_tasks([TaskSpec(name="work", input_data={"number": number}) for number in range(count)])
        else:
            await begin(here, "worker", work, max_concurrent_tasks=LANES)
            await asyncio.sleep(2 * REST_SECONDS)
    return {}


MEASUREMENTS = (
    Measurement(
        name="crash",
        what="300 tasks of 10 ms in 4 lanes, the worker killed 3 times: 30 s later",
        figures={"not_executed": "not executed", "executed_again": "executed again", "rest_s": "s for the rest"},
        entries=(
            Entry("shoal", "benchmarks.crash:crash", {**ARGUMENTS, "worker": "benchmarks.crash:shoal"}),
            Entry("huey", "benchmarks.peers.huey_:crash", {**ARGUMENTS, "worker": "benchmarks.peers.huey_:worker"}),
            Entry(
                "dramatiq",
                "benchmarks.peers.dramatiq_:crash",
                {**ARGUMENTS, "worker": "benchmarks.peers.dramatiq_:worker"},
                "on dramatiq-sqlite",
            ),
            Entry("dbos", "benchmarks.peers.dbos_:crash", {**ARGUMENTS, "worker": "benchmarks.peers.dbos_:worker"}),
        ),
        bounds=(
            Bound("not_executed", "floor", most=0),
            Bound("executed_again", "goal", most=3 * LANES),
        ),
        quick={"count": 60},
        runs=1,
        timeout_seconds=240,
    ),
)
