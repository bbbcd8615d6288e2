"""Containers that share a directory for temporary files, or control groups: nobody sweeps what lives elsewhere."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import BoxRuntime

APART = ("unshare", "-p", "-f", "-m", "--propagation", "private", "--mount-proc")
OTHER = """
import asyncio
from shoal.boxes import BoxRuntime
async def main():
    async with BoxRuntime("process") as runtime:
        await runtime.create_box("other")
asyncio.run(main())
"""
REMOVE = """
import sys
from shoal.boxes.cgroups import remove_groups
remove_groups([sys.argv[1]])
print("alive")
"""


def test_a_runtime_in_another_process_namespace_leaves_ours_alone(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if subprocess.run([*APART, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no process namespaces for this user")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box")
            await box.put_file("x", b"here")
            done = await asyncio.create_subprocess_exec(*APART, sys.executable, "-c", OTHER, start_new_session=True)
            assert await done.wait() == 0
            assert await box.get_file("x") == b"here" and box.state == "ready"
        assert list((tmp_path / f"shoal-{os.getuid()}").iterdir()) == []

    run(main, timeout=30)


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_with_processes_of_elsewhere_is_not_emptied(tmp_path: Path, version: int) -> None:
    group = tmp_path / "group"
    group.mkdir()
    (group / "cgroup.procs").write_text("0\n0\n")
    if version == 2:
        (group / "cgroup.freeze").write_text("0")
        (group / "cgroup.kill").write_text("")
    # In a session of its own: a signal to process 0 would end whoever sends it, and all of its group.
    done = subprocess.run(
        [sys.executable, "-c", REMOVE, str(group)], capture_output=True, text=True, start_new_session=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert version == 1 or (group / "cgroup.kill").read_text() == ""
