"""Ending a whole session: what a command started in process groups of its own, where no group of the kernel holds it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shoal.boxes.procfs import started_at
from shoal.boxes.reaper import kill_session
from tests.support.processes import gone

FAMILY = """
import json, os, time
said = {"leader": os.getpid()}
for name, act in (("same group", lambda: None), ("own group", lambda: os.setpgid(0, 0)), ("own session", os.setsid)):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        act()
        os.write(write, b"!")
        time.sleep(600)
    os.read(read, 1)
    said[name] = child
print(json.dumps(said), flush=True)
LAST
"""


@contextmanager
def family(last: str) -> Iterator[tuple[dict[str, int], subprocess.Popen[bytes]]]:
    """A process that leads a session, and three children in it or out of it."""
    code = FAMILY.replace("LAST", last)
    command = [sys.executable, "-I", "-S", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        said = json.loads(leader.stdout.readline())
        try:
            yield said, leader
        finally:
            for pid in said.values():
                if not gone(pid):
                    os.kill(pid, signal.SIGKILL)


def await_end(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while left := [pid for pid in pids if not gone(pid)]:
        assert time.monotonic() < deadline, f"{left} live on"
        time.sleep(0.005)


def test_a_session_ends_whole_and_nobody_else() -> None:
    with family("time.sleep(600)") as (said, leader):
        assert kill_session(said["leader"], started_at(said["leader"]))
        assert leader.wait(10) == -signal.SIGKILL
        await_end(said["same group"], said["own group"])
        assert not gone(said["own session"])


def test_it_ends_when_its_leader_has_ended_before() -> None:
    with family("") as (said, leader):
        started = min(started_at(said["same group"]), started_at(said["own group"]))  # as its leader's, or later
        assert leader.wait(10) == 0
        assert kill_session(said["leader"], started)
        await_end(said["same group"], said["own group"])
        assert not kill_session(said["leader"], started), "nobody is left"
        assert not gone(said["own session"])


def test_another_process_with_the_same_number_is_not_meant() -> None:
    with family("time.sleep(600)") as (said, _):
        started = started_at(said["leader"])
        assert not kill_session(said["leader"], started - 1) and not kill_session(said["leader"], started + 1)
        assert not any(map(gone, said.values()))
