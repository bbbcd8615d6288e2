"""Nothing of boxes is left: after many were stopped, and when their host is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.boxes.procfs import started_at
from tests.lifecycle.boxes.attacks.conftest import PACKAGE, host_facts
from tests.lifecycle.boxes.conftest import REPOSITORY, User
from tests.support.levels import need
from tests.support.processes import gone

BOXES = {"process": 20, "bubblewrap": 20, "gvisor": 20 if os.environ.get("SHOAL_LONG") == "full" else 5, "microvm": 2}
DEATH = 2.0
GROWN_MIB = 40  # by records of what has ended, which are bounded
FEW = {"process": 1, "bubblewrap": 1, "gvisor": 10}  # of how many rounds one is done


@pytest.mark.spec("B41")
@pytest.mark.parametrize("level", ["process", "bubblewrap", "gvisor"])
def test_kill_9_of_the_host(user: User, level: str) -> None:
    user.need(level)
    kill_host_of(user, level)


@pytest.mark.spec("B41")
def test_kill_9_of_the_host_of_machines() -> None:
    need("microvm")  # and builds what they start from, in this user's cache: the other user has none
    kill_host_of(User("this user", None), "microvm")


def kill_host_of(user: User, level: str) -> None:
    before = host_facts()
    command = user.module(f"{PACKAGE}.many", "stay", level, str(BOXES[level]), apart=False)
    place = REPOSITORY if user.is_root else Path("/")
    with subprocess.Popen(command, env=user.env, cwd=place, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        told = json.loads(host.stdout.readline())
        assert len(told["pids"]) >= 2 * BOXES[level] and len(told["directories"]) == 1
        host.send_signal(signal.SIGKILL)
    if level != "process":  # commands of a plain process live until the next start
        await_death(told["pids"])
    if level != "microvm":  # the next start is that of any level
        user.hear(user.module(f"{PACKAGE}.many", "sweep", level, "0", apart=False), {})
    after = user.hear(user.module(f"{PACKAGE}.many", "sweep", "process", "0", apart=False), {})
    await_death(told["pids"])
    assert [path for path in told["groups"] if Path(path).exists()] == []
    assert after == {} and host_facts() == before


def await_death(processes: list[tuple[int, int]]) -> None:
    deadline = time.monotonic() + DEATH
    while left := [pid for pid, started in processes if started_at(pid) == started and not gone(pid)]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.01)


@pytest.mark.long
@pytest.mark.spec("B42")
@pytest.mark.parametrize("level", FEW)
def test_boxes_started_and_stopped(level: str, rounds: Callable[[int, int], int], tmp_path: Path) -> None:
    user = User("this user", None)
    user.need(level)
    count = rounds(1000, 60) // FEW[level]
    command = user.module(f"{PACKAGE}.many", "cycles", level, str(count), apart=True)
    told = user.hear(command, {"TMPDIR": str(tmp_path)}, seconds=1200)  # where nobody else makes files
    print(f"\n{level}: {count} boxes in {told['seconds']:.0f} s, the host grew by {told['grown_mib']:.1f} MiB")
    assert told["after"] == told["before"] and told["grown_mib"] < GROWN_MIB
    assert told["at the end"]["processes"] == 0 and told["at the end"]["directories"] == [], told
