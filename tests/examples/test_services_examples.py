"""The examples of services that end by a signal: what they print, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.examples.programs import HANG_SECONDS, ROOT

FOLDER = ROOT / "examples/services"
STARTED = """\
started: workeragent_0 workeragent_1 workeragent_2 loadbalanceragent_0 loggingagent_0
asked: workeragent_0 workeragent_1 workeragent_2
workeragent_1 died (exit code -9) and is back, in another process: True
workeragent_1 answers: Processed: again
running; Ctrl-C ends all
"""


@pytest.mark.spec("S50")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_five_processes_start_one_comes_back_and_a_signal_ends_all(number: signal.Signals, tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-W", "error", str(FOLDER / "process_manager.py")],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert program.stdout is not None
        assert "".join(program.stdout.readline() for _ in STARTED.splitlines()) == STARTED
        while not _hears(program.pid, signal.SIGTERM):  # a moment after that line
            time.sleep(0.005)
        program.send_signal(number)
        rest, _ = program.communicate(timeout=HANG_SECONDS)
    finally:
        program.kill()
        program.wait()
    assert (program.returncode, rest) == (0, "left: 0\n")
    (entry,) = [json.loads(line) for line in (tmp_path / "agent_audit.log").read_text().splitlines()]
    assert (entry["level"], entry["message"]) == ("warning", "workeragent_1 was killed")


def _hears(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(caught, 16) >> (number - 1) & 1)
