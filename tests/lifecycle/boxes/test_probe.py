"""The probe tells the truth about what this machine can run; ``auto`` never takes what protects nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle.boxes.conftest import MODULE, REPOSITORY, User
from tests.support.levels import chosen, need

Hide = Callable[..., str]


def test_what_works_says_what_the_guest_found(user: User, walled: str) -> None:
    found = user.ask("probed", walled)
    assert found["works"] and found["reason"] == "" and found["took_ms"] > 0
    assert "capabilities 0000000000000000" in found["detail"] and found["version"]
    assert found["auto"] in ("microvm", "gvisor", "bubblewrap")


@pytest.mark.spec("B38")
@pytest.mark.parametrize(
    ("level", "program", "reason"),
    [
        ("bubblewrap", "bwrap", "bwrap is not installed (Debian package bubblewrap)"),
        ("gvisor", "runsc", "runsc is not installed (Debian package runsc)"),
        ("microvm", "qemu-system-x86_64", "qemu"),
    ],
)
def test_a_missing_program_is_named(user: User, hidden: Hide, level: str, program: str, reason: str) -> None:
    found = user.ask("probed", level, PATH=hidden(program))
    assert not found["works"] and reason in found["reason"], found
    assert found["auto"] != level


@pytest.mark.parametrize(
    ("level", "program", "reason"), [("bubblewrap", "bwrap", "no hello within 10 s"), ("gvisor", "runsc", "timed out")]
)
@pytest.mark.parametrize("user", chosen("this user", long=("another user",)), indirect=True)
def test_a_program_that_hangs_is_given_up(hidden: Hide, user: User, level: str, program: str, reason: str) -> None:
    path = hidden(program)
    fake = Path(path, program)
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo 9\nexec sleep 987654\n')
    fake.chmod(0o755)
    found = user.ask("probed", level, PATH=path)
    assert not found["works"] and reason in found["reason"], found
    assert not subprocess.run(["pgrep", "-f", "sleep 987654"], capture_output=True, text=True, check=False).stdout


@pytest.mark.spec("B38")
def test_a_missing_filter_library_is_named(user: User, shared: Path) -> None:
    (shared / "pyseccomp.py").write_text("raise ImportError('taken away')")
    found = user.ask("probed", "bubblewrap", PYTHONPATH=f"{shared}:{user.env.get('PYTHONPATH', '')}".rstrip(":"))
    assert not found["works"] and "pip install 'shoal[boxes]'" in found["reason"]
    assert found["auto"] != "bubblewrap"


@pytest.mark.spec("B38")
def test_refused_user_namespaces_are_named() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a place in which there are no user namespaces")
    inner = ["sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh"]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", *inner, sys.executable, "-m", MODULE, "probed", "bubblewrap"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"works": false' in done.stdout and "may not make user namespaces" in done.stdout


@pytest.mark.spec("B38")
def test_auto_raises_with_every_reason_rather_than_take_a_plain_process(user: User, hidden: Hide) -> None:
    found = user.ask("probed", "bubblewrap", PATH=hidden("bwrap", "runsc", "qemu-system-x86_64"))
    for part in ("IsolationUnavailableError", "microvm: ", "gvisor: runsc", "bubblewrap: bwrap", "isolation='process'"):
        assert part in found["auto"], found


@pytest.mark.parametrize("level", ["process", "bubblewrap", "gvisor", "microvm"])
def test_levels_that_must_run_here_do(level: str) -> None:
    need(level)
