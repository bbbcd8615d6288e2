"""Runs measurements: each contestant in a process of its own, one after the other, round by round."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.child import MARK
from benchmarks.llm_serving import PYTHON
from benchmarks.measurement import Entry, Measurement

ROOT = Path(__file__).parent.parent


@dataclass
class Result:
    """The medians of one contestant over all rounds, or why there are none."""

    figures: Mapping[str, float] = field(default_factory=dict)
    rounds: int = 0
    reason: str = ""


def measure(
    measurement: Measurement, *, peers: Path, runs: int, quick: bool, tell: Callable[[str], object]
) -> dict[str, Result]:
    """Return a result for every contestant. In each round all have their turn, so that a busy minute hits all alike."""
    rounds: dict[str, list[dict[str, float]]] = {entry.who: [] for entry in measurement.entries}
    reasons: dict[str, str] = {}
    for number in range(1 if quick else min(runs, measurement.runs or runs)):
        for entry in measurement.entries:
            if entry.who in reasons:
                continue
            begun = time.monotonic()
            try:
                rounds[entry.who].append(_run(entry, measurement, peers, quick))
            except (RuntimeError, TimeoutError, OSError) as error:
                reasons[entry.who] = str(error)
            took = f"{time.monotonic() - begun:.0f} s, load {os.getloadavg()[0]:.1f}"
            said = reasons.get(entry.who) or _short(rounds[entry.who])
            tell(f"{measurement.name} {number + 1}: {entry.who} {said} ({took})")
    return {who: _median(rounds[who], reasons.get(who, "")) for who in rounds}


def _short(rounds: list[dict[str, float]]) -> str:
    return ", ".join(f"{name} {value:,.4g}" for name, value in rounds[-1].items())


def _median(rounds: list[dict[str, float]], reason: str) -> Result:
    if not rounds:
        return Result(reason=reason)
    figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
    return Result(figures=figures, rounds=len(rounds), reason=reason)


def _run(entry: Entry, measurement: Measurement, peers: Path, quick: bool) -> dict[str, float]:
    python = Path(sys.executable) if entry.ours else _python_of(entry, peers)
    if not python.exists():
        raise RuntimeError("not installed: `make bench` makes the environment of the peers")
    arguments = dict(entry.arguments)
    if quick:
        arguments |= {
            key: value for key, value in measurement.quick.items() if _smaller(value, arguments.get(key, value))
        }
    command = [str(python), "-m", "benchmarks.child", entry.function, json.dumps(arguments)]
    child = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, PYTHON: sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=measurement.timeout_seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"did not end within {measurement.timeout_seconds:g} s") from None
    finally:
        _end(child)
    for line in out.splitlines():
        if line.startswith(MARK):
            return {str(name): float(value) for name, value in json.loads(line.removeprefix(MARK)).items()}
    last = (err.strip().splitlines() or ["it printed nothing"])[-1]
    raise RuntimeError(f"failed: {last[:200]}")


def _python_of(entry: Entry, peers: Path) -> Path:
    """Return the interpreter of a peer. CrewAI wants other versions of what all share: it has one of its own below."""
    return peers.parent.parent / "crewai/bin/python" if "crewai" in entry.function else peers


def _smaller(value: object, present: object) -> bool:
    return not (isinstance(value, int) and isinstance(present, int)) or value <= present


def _end(child: subprocess.Popen[str]) -> None:
    """Leave nothing of it: its session is its own, so its children go with it."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.wait()
