"""Running tests in a box: what it takes beyond the tests themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import run
from benchmarks.measurement import Bound, Entry, Measurement

_COUNT = 14
FILES = {
    "calc.py": "\n".join(f"def add_{number}(a):\n    return a + {number}\n" for number in range(_COUNT)),
    "test_calc.py": "import calc\n"
    + "\n".join(
        f"\ndef test_{number}():\n    assert calc.add_{number}(1) == {number + 1}\n" for number in range(_COUNT)
    ),
}
_PYTEST = (sys.executable, "-B", "-m", "pytest", "-q", "--tb=short", "--color=no", "-p", "no:cacheprovider")
_REFILL_SECONDS = 0.5  # the spare guest comes up between two runs


def beyond(level: str, count: int) -> dict[str, float]:
    """Return how much longer a run takes than pytest on the same files without a box: the quickest of each, in turn."""
    return run(_beyond(level, count))


async def _beyond(level: str, count: int) -> dict[str, float]:
    from shoal import AgentRuntime
    from shoal.orchestration.workflow.delivery import CodeRunner

    async def timed(runner: CodeRunner) -> float:
        begun = time.perf_counter()
        done = await runner.run(FILES)
        seconds = time.perf_counter() - begun
        if done.tests is None or done.tests.passed != _COUNT:
            raise RuntimeError(f"the tests did not pass: {done}")
        return seconds

    plain, cold, warm = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        _write(folder)
        async with AgentRuntime(store="sqlite://:memory:") as runtime:
            kept = runtime.code_runner(level)
            await timed(kept)
            for _ in range(count):
                await asyncio.sleep(_REFILL_SECONDS)
                plain.append(_plain(folder))
                warm.append(await timed(kept))
                await asyncio.sleep(_REFILL_SECONDS)
                cold.append(await timed(runtime.code_runner(level)))  # a new one has no spare guest yet
    return {
        "cold_ms": (min(cold) - min(plain)) * 1e3,
        "warm_ms": (min(warm) - min(plain)) * 1e3,
        "plain_ms": min(plain) * 1e3,
    }


def _write(folder: str) -> None:
    for path, text in FILES.items():
        Path(folder, path).write_text(text)


def _plain(folder: str) -> float:
    begun = time.perf_counter()
    subprocess.run(_PYTEST, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


MEASUREMENTS = (
    Measurement(
        name="code-runner",
        what="14 tests in a fresh box, with coverage, beyond pytest on the same files without a box",
        figures={
            "cold_ms": "ms more, first run",
            "warm_ms": "ms more, with a spare guest",
            "plain_ms": "ms of pytest alone",
        },
        entries=(Entry("shoal, bubblewrap", "benchmarks.code_runner:beyond", {"level": "bubblewrap", "count": 8}),),
        bounds=(
            Bound("cold_ms", "goal", most=300, of="shoal, bubblewrap"),
            Bound("warm_ms", "goal", most=50, of="shoal, bubblewrap"),
        ),
        quick={"count": 2},
        runs=2,
    ),
)
