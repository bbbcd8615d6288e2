"""Directories of the host in a box, and a box whose interpreter is another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import BoxRuntime, BoxSpec, Mount
from shoal.errors import BoxError, BoxSpecError, PythonMismatchError
from tests.support.levels import need

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

WRITER = """
from pathlib import Path
for name in ("/read/file", "/write/file"):
    try:
        Path(name).write_text("from the box")
        print(name, "written")
    except OSError as error:
        print(name, type(error).__name__)
print(Path("/read/here").read_text())
"""
OTHER_PYTHON = f"""#!{sys.executable}
import sys
arguments = sys.argv[3:]  # behind -I and -S
sys.version_info = (3, 99, 0, "final", 0)
sys.argv = arguments
sys.path[:] = [entry for entry in sys.path if entry]
exec(compile(open(arguments[0]).read(), arguments[0], "exec"), {{"__name__": "__main__", "__file__": arguments[0]}})
"""


@pytest.mark.spec("B36")
@pytest.mark.parametrize("level", ["bubblewrap", "gvisor"])
def test_a_read_only_mount_refuses_and_a_writable_one_keeps(level: str, tmp_path: Path, run: Run) -> None:
    need(level)
    read, write, script = tmp_path / "read", tmp_path / "write", tmp_path / "writer.py"
    for folder in (read, write):
        folder.mkdir()
        folder.chmod(0o777)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)  # a box is a user of its own: it must get there
    (read / "here").write_text("from the host")
    script.write_text(WRITER)

    async def main() -> None:
        spec = BoxSpec(mounts=(Mount(read, "/read"), Mount(write, "/write", writable=True)))
        async with BoxRuntime(level, logs="none") as runtime:
            box = await runtime.create_box("box", spec)
            await box.run_script(script)
            assert await box.wait() == 0
            printed = [line.text for line in box.logs("stdout")]
            assert printed == ["/read/file OSError", "/write/file written", "from the host"]
        assert (write / "file").read_text() == "from the box"
        assert sorted(path.name for path in read.iterdir()) == ["here"]

    run(main)


@pytest.mark.spec("B36")
def test_what_no_mount_can_be_is_refused_before_anything_starts(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            for mount in (
                Mount(tmp_path / "missing", "/data"),
                Mount(tmp_path, "/"),
                Mount(tmp_path, "/proc/x"),
                Mount(tmp_path, "/shoal"),
                Mount(tmp_path, "relative"),
                Mount(tmp_path, "/a/../dev"),
            ):
                with pytest.raises(BoxSpecError, match=r"mounts\[0\]"):
                    await runtime.create_box("box", BoxSpec(mounts=(mount,)))
            with pytest.raises(BoxSpecError, match="level process has no mounts"):
                await runtime.create_box("box", BoxSpec(mounts=(Mount(tmp_path, "/data"),)))
            assert runtime.list_boxes() == []

    run(main)


@pytest.mark.spec("B30")
def test_another_python_takes_scripts_and_commands_but_no_program(tmp_path: Path, run: Run) -> None:
    python, script = tmp_path / "python", tmp_path / "script.py"
    python.write_text(OTHER_PYTHON)
    python.chmod(0o755)
    script.write_text("import sys\nprint('ran', sys.version_info[1])\n")

    async def main() -> None:
        async with BoxRuntime("process", logs="none") as runtime:
            box = await runtime.create_box("box", BoxSpec(python=str(python)))
            box.task(lambda: 1)
            here = f"{sys.version_info.major}.{sys.version_info.minor}"
            with pytest.raises(PythonMismatchError, match=rf"Python 3\.99 in the box, {here} here") as caught:
                await box.run()
            assert "run_script" in caught.value.__notes__[0] and isinstance(caught.value, BoxError)
            assert (await box.exec("echo", "still there")).stdout == "still there\n"
            await box.run_script(script)
            assert await box.wait() == 0
            assert [line.text for line in box.logs("stdout")] == ["ran 99"]

    run(main)
