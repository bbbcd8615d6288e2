"""``python -m shoal`` is the command ``shoal``."""

from __future__ import annotations

import subprocess
import sys

import shoal


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "shoal", "--version"], text=True, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert shoal.__version__ in done.stdout
    wrong = subprocess.run(
        [sys.executable, "-m", "shoal", "fly"], text=True, capture_output=True, timeout=60, check=False
    )
    assert wrong.returncode == 2
    assert "shoal --help" in wrong.stderr
