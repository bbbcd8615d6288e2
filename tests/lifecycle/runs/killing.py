"""Running a composition in a process of its own, killing it, and looking at what is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from tests.support.backend import store_at

ROOT = Path(__file__).parents[3]


def carry_out(
    folder: Path, composition: str, run_id: str, *, kill: tuple[int, str] | None = None, budget: str = ""
) -> dict[str, Any] | None:
    """Carry the run out, or go on with it, in a process; None when it was killed, as asked."""
    command = [
        sys.executable,
        "-m",
        "tests.lifecycle.runs.run_node",
        store_at(folder / "runs.db"),
        str(folder / "calls.log"),
        composition,
        run_id,
        budget,
    ]
    if kill is not None:
        command += [str(kill[0]), kill[1]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def calls(folder: Path) -> Counter[str]:
    """Return how often each agent was really called."""
    log = folder / "calls.log"
    return Counter(log.read_text().split()) if log.exists() else Counter()


def without_times(value: Any) -> Any:
    """Return a result without its durations and the id of its run."""
    if isinstance(value, dict):
        left_out = ("duration_ms", "total_duration_ms", "run_id")
        return {key: without_times(inner) for key, inner in value.items() if key not in left_out}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value
