"""What is left of boxes behind walls when whoever started them is killed: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from shoal.boxes.procfs import started_at
from tests.lifecycle.boxes.conftest import REPOSITORY, User
from tests.support.processes import gone

BOXES = {"process": 20, "bubblewrap": 20, "gvisor": 3}
DEATH = 2.0  # seconds


@pytest.mark.spec("B41")
@pytest.mark.parametrize("level", BOXES)
def test_kill_9_of_the_starter_leaves_nothing(user: User, level: str) -> None:
    user.need(level)
    boxes = BOXES[level]
    mounts = Path("/proc/self/mounts").read_text()
    with subprocess.Popen(
        user.command("stay", level, str(boxes)),
        env=user.env,
        cwd=REPOSITORY if user.is_root else "/",
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        told = json.loads(starter.stdout.readline())
        assert len(told["pids"]) >= 2 * boxes
        starter.send_signal(signal.SIGKILL)
    frozen = any("freezer" in group for group in told["groups"])
    if not frozen and level != "process":
        # Else the sweep is needed: a frozen box does not die, and commands of a plain process outlive it.
        _await_death(told["pids"])
    swept = user.ask("sweep", level)
    _await_death(told["pids"])
    assert swept["boxes"] >= boxes
    assert [group for group in told["groups"] if os.path.exists(group)] == []
    assert [directory for directory in told["directories"] if os.path.exists(directory)] == []
    assert Path("/proc/self/mounts").read_text() == mounts


def _await_death(processes: list[tuple[int, int]]) -> None:
    deadline = time.monotonic() + DEATH
    while left := [pid for pid, started in processes if started_at(pid) == started and not gone(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)
