"""``shoal run`` on a team file: from the command to the first call of a model, and what its live view takes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.common import percentile
from benchmarks.measurement import Bound, Entry, Measurement

_TEAM = """
[team]
pattern = "pipeline"
[agents.Writer]
model = "echo"
[agents.Editor]
model = "echo"
"""


def start(times: int = 15) -> dict[str, float]:
    """Return the milliseconds from the command to its first call of a model, and to its end."""
    command = [str(Path(sys.executable).with_name("shoal")), "run", "team.toml", "hello", "--events", "events.jsonl"]
    first: list[float] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "team.toml").write_text(_TEAM)
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}  # as installed
        for number in range(times + 1):
            begun = time.time()
            subprocess.run(command, cwd=folder, env=os.environ | compiled, check=True, capture_output=True)
            ended = time.time()
            told = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
            at = next(event["at"] for event in told if event["type"] == "step_started")
            if number:  # the first compiles
                first.append(datetime.fromisoformat(at).timestamp() - begun)
                whole.append(ended - begun)
    return {"first_call_ms": percentile(first, 0.5) * 1e3, "whole_ms": percentile(whole, 0.5) * 1e3}


def view(rate: int = 100, seconds: float = 10.0, agents: int = 10) -> dict[str, float]:
    """Return the share of a core, in percent, that a live view takes at *rate* events a second of *agents* at work."""
    bare = asyncio.run(_told(rate, seconds, agents, None))
    ours, theirs = pty.openpty()
    reader = subprocess.Popen(["cat"], stdin=ours, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(ours)
    try:
        with os.fdopen(theirs, "w") as terminal:
            drawn = asyncio.run(_told(rate, seconds, agents, terminal))
    finally:
        reader.wait(10)
    return {"core_percent": (drawn - bare) / seconds * 100, "events": rate * seconds}


async def _told(rate: int, seconds: float, agents: int, terminal: Any) -> float:
    """Tell events to a follower, and return the seconds of processor time: with a view on *terminal*, else without."""
    from rich.console import Console

    from shoal.cli.liveview import LiveView
    from shoal.cli.runview import RunView
    from shoal.kernel.clock import RealClock
    from shoal.kernel.feed import Feed

    feed = Feed("auth-1", 0, RealClock())
    view = None
    if terminal is not None:
        view = LiveView(RunView("auth-1"), console=Console(file=terminal, force_terminal=True, width=120, height=40))

    async def follow() -> None:
        async for event in feed.follow():
            if view is not None:
                view.take(event)

    following = asyncio.ensure_future(follow())
    feed.tell("", "run_started", "", {"pattern": "Orchestrator", "budget": {"max_cost": 2.0}})
    before, begun = time.process_time(), time.monotonic()
    with nullcontext() if view is None else view:
        for number in range(int(rate * seconds)):
            _tell(feed, number, agents)
            await asyncio.sleep(max(0.0, begun + (number + 1) / rate - time.monotonic()))
    feed.close()
    await following
    return time.process_time() - before


def _tell(feed: Any, number: int, agents: int) -> None:
    """Tell one event: of ten of an agent, one begins a call of its model, seven are text, one ends it, one is said."""
    turn, part = divmod(number, 10)
    name, path = f"Agent-{turn % agents}", f"s{turn}/w1:Agent-{turn % agents}/model1"
    match part:
        case 0:
            feed.tell(path, "step_started", name, {"kind": "model", "model": "echo"})
        case 8:
            feed.tell(path, "step_finished", name, {"kind": "model", "cost": 0.0012, "tokens": 512})
        case 9:
            entry = {"sender": name, "receiver": "Orchestrator", "output": [f"auth_{turn}.py (500 lines)"]}
            feed.tell(path, "work_delivered", name, {"key": str(turn), **entry})
        case _:
            feed.tell(path, "text", name, {"text": f"some words of the answer, part {part},\n" * (part % 3)})


MEASUREMENTS = (
    Measurement(
        name="cli-start",
        what="`shoal run team.toml`, echo models: from the command to the first call of a model, and to its end",
        figures={"first_call_ms": "first call ms", "whole_ms": "whole ms"},
        entries=(Entry("shoal", "benchmarks.cli_view:start", note="a pipeline of two agents, journaled, a new run"),),
        bounds=(Bound("first_call_ms", "goal", most=500),),
        quick={"times": 2},
    ),
    Measurement(
        name="cli-view",
        what="live view of a run at 100 events a second: what it takes of one core, beyond following them",
        figures={"core_percent": "% of a core", "events": "events"},
        entries=(Entry("shoal", "benchmarks.cli_view:view", note="10 agents, 120 × 40 characters"),),
        bounds=(Bound("core_percent", "goal", most=5),),
        quick={"seconds": 2.0},
    ),
)
