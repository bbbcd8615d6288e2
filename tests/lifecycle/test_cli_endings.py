"""How ``shoal run`` ends: after a time-out of code that does not listen, and by Ctrl-C, once and twice."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import GUARD_SECONDS, SHOAL, begin, environment, said, shoal

AGENTS = """
import asyncio, time

def block(task):
    print("begun", flush=True)
    time.sleep(600)

async def pool(task):
    print("begun", flush=True)
    await asyncio.to_thread(time.sleep, 600)

async def deaf(task):
    print("begun", flush=True)
    while True:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            pass

async def holds_the_loop(task):
    print("begun", flush=True)
    time.sleep(600)

async def forever(task):
    print("begun", flush=True)
    await asyncio.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(AGENTS)
    return tmp_path


@contextmanager
def started(folder: Path, *words: str, grace: str = "0.5") -> Iterator[subprocess.Popen[str]]:
    """Run an agent, whose code has begun; what is left at the end is killed."""
    variables = environment() | {"SHOAL_CANCEL_GRACE_SECONDS": grace}
    with begin(folder, "run", *words, variables=variables) as running:
        try:
            assert running.stdout is not None and running.stdout.readline() == "begun\n"
            yield running
        finally:
            running.kill()


def ended(running: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, errors = running.communicate(timeout=GUARD_SECONDS)
    assert "Traceback" not in out + errors and "KeyboardInterrupt" not in out + errors
    return running.returncode, out, errors


@pytest.mark.parametrize(
    ("name", "isolation", "where"),
    [
        ("block", "inline", "a.py:6 in block"),
        ("block", "thread", "a.py:6 in block"),
        ("block", "process", None),
        ("pool", "inline", "asyncio_0"),
        ("deaf", "inline", "deaf: deaf"),
    ],
)
def test_code_that_outlives_its_time_out_is_named_and_left(
    folder: Path, name: str, isolation: str, where: str | None
) -> None:
    words = ["x", "--timeout", "200ms", "--json", "--isolation", isolation]
    with started(folder, f"a.py:{name}", *words) as running:
        code, out, errors = ended(running)  # within the guard: the code itself would take ten minutes
    assert (code, json.loads(out.splitlines()[-1])["error_type"]) == (1, "TaskTimeoutError")
    assert ("still running when this process ended" in errors) is (where is not None)
    if where is not None:
        assert f"still running when this process ended: {where}\n" in errors


def test_the_first_ctrl_c_says_what_it_stops_and_starts_nothing(folder: Path) -> None:
    with started(folder, "a.py:forever", "x", "y", "z") as running:
        running.send_signal(signal.SIGINT)
        code, out, errors = ended(running)
    assert (code, out) == (130, "")
    assert errors == "stopping: 1 running, 2 waiting; once more to end now\n"
    tasks = said(shoal(folder, "tasks", "list", "--json"))
    assert [(task["status"], task["attempt"]) for task in tasks] == [
        ("cancelled", 0),
        ("cancelled", 0),
        ("cancelled", 1),
    ]
    events = [event["event_type"] for event in said(shoal(folder, "events", "--limit", "100", "--json"))]
    assert (events.count("task_started"), events.count("task_cancelled")) == (1, 3)
    assert events[-1] == "runtime_stopped"


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_the_second_ctrl_c_ends_at_once(folder: Path, isolation: str) -> None:
    with started(folder, "a.py:block", "x", "y", "--isolation", isolation, grace="600") as running:
        assert running.stderr is not None
        running.send_signal(signal.SIGINT)
        assert running.stderr.readline() == "stopping: 1 running, 1 waiting; once more to end now\n"
        before = time.monotonic()
        running.send_signal(signal.SIGINT)
        code, _, errors = ended(running)
    assert (code, errors) == (130, "")
    assert time.monotonic() - before < 5  # the grace is ten minutes


def test_ctrl_c_is_heard_while_an_agent_holds_up_the_loop(folder: Path) -> None:
    with started(folder, "a.py:holds_the_loop", "x") as running:
        assert running.stderr is not None
        running.send_signal(signal.SIGINT)
        assert running.stderr.readline() == "stopping: 1 running, 0 waiting; once more to end now\n"
        running.send_signal(signal.SIGINT)
        assert ended(running)[0] == 130


def test_what_was_cancelled_is_a_line_of_json_each(folder: Path) -> None:
    with started(folder, "a.py:forever", "x", "y", "--json") as running:
        running.send_signal(signal.SIGINT)
        code, out, _ = ended(running)
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    assert code == 130
    assert [(line["index"], line["status"], line["error_message"]) for line in lines] == [
        (0, "cancelled", "Interrupted"),
        (1, "cancelled", "Interrupted"),
    ]


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_ctrl_c_twice_on_a_terminal(folder: Path, isolation: str) -> None:
    """The terminal sends the signal to all processes of the foreground, and a progress bar hides the cursor."""
    ours, theirs = pty.openpty()
    command = [str(SHOAL), "run", "a.py:block", "x", "y", "--isolation", isolation]
    variables = environment() | {"TERM": "xterm", "SHOAL_CANCEL_GRACE_SECONDS": "600"}
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command],
        cwd=folder,
        env=variables,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as running:
        os.close(theirs)
        shown = read_until(ours, b"begun")
        os.write(ours, b"\x03")
        shown += read_until(ours, b"once more to end now")
        os.write(ours, b"\x03")
        shown += read_until(ours, None)
    os.close(ours)
    assert running.returncode == 130
    assert b"stopping: 1 running, 1 waiting" in shown
    assert b"Traceback" not in shown and b"KeyboardInterrupt" not in shown and b"failed" not in shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


def read_until(terminal: int, words: bytes | None) -> bytes:
    shown = b""
    while words is None or words not in shown:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other end is closed
            piece = b""
        if not piece:
            assert words is None, shown
            return shown
        shown += piece
    return shown
