"""What boxes keep on disk, when several sweep at once and when somebody clears it away."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

from shoal.boxes.state import forget_directory, make_directory, new_box_id

SWEEP = """
import sys
from shoal.boxes.state import sweep_state
sys.stdin.readline()
sweep_state()
"""
CLEARED = """
import asyncio, os, shutil, tempfile
from pathlib import Path
from shoal.boxes import BoxRuntime
base = Path(tempfile.gettempdir()) / f"shoal-{os.getuid()}"
async def use(runtime, name):
    box = await runtime.create_box(name)
    assert (await box.exec("true")).exit_code == 0
async def main():
    async with BoxRuntime("process") as first:
        await use(first, "a")
        shutil.rmtree(base)
        await use(first, "b")
        assert base.stat().st_mode & 0o777 == 0o700
        await first.stop_all()
        shutil.rmtree(base)
        async with BoxRuntime("process") as second:
            await use(second, "c")
    assert list(base.iterdir()) == []
os.umask(0o022)
asyncio.run(main())
"""


def start(code: str, tmp: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "TMPDIR": str(tmp)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_many_sweep_at_once(tmp_path: Path) -> None:
    base = tmp_path / f"shoal-{os.getuid()}"
    base.mkdir(mode=0o700)
    for number in range(1, 301):
        (base / f"4000000-{number}.{os.stat('/proc/self/ns/pid').st_ino}" / "box").mkdir(parents=True)
    sweepers = [start(SWEEP, tmp_path) for _ in range(4)]
    for sweeper in sweepers:
        assert sweeper.stdin is not None
        sweeper.stdin.write("go\n")
        sweeper.stdin.flush()
    said = [sweeper.communicate(timeout=60)[1] for sweeper in sweepers]
    assert said == [""] * 4 and list(base.iterdir()) == []


def test_a_cleared_directory_is_made_anew_for_this_user_alone(tmp_path: Path) -> None:
    one = start(CLEARED, tmp_path)
    assert one.communicate(timeout=60)[1] == "" and one.returncode == 0


def test_boxes_of_several_loops_come_and_go_at_once() -> None:
    faults: list[BaseException] = []

    def come_and_go() -> None:
        try:
            for _ in range(500):
                box_id = new_box_id()
                assert make_directory(box_id).is_dir()
                forget_directory(box_id)
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
