"""The part of the suite of boxes that is about what is put into them: programs, scripts, commands, files, output."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes import Box, BoxLimits, BoxRuntime, BoxSpec
from shoal.errors import (
    BoxError,
    BoxProgramError,
)
from shoal.testing.box_frame import BoxFrame

__all__ = ["WorkContract"]

_MIB = 1 << 20

RECEIVER = """
import sys
from shoal_guest import on_message, run_forever
print("receiver", sys.argv[1:], __name__)
@on_message
def handle(sender, data):
    if data["task"] == "double":
        return {"doubled": data["value"] * 2}
    if data["task"] == "fibonacci":
        a, b = 0, 1
        for _ in range(data["n"]):
            a, b = b, a + b
        return {"fibonacci": a}
    return data if data["task"] == "echo" else {"error": f"unknown task: {data['task']}"}
run_forever()
print("served")
"""


class WorkContract(BoxFrame):
    """Programs, commands, files, output."""

    def test_large_closures(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            limits = BoxLimits(memory_mib=1500, max_program_mib=300)
            small, large = os.urandom(10 * _MIB), os.urandom(self.rounds(200, 60) * _MIB)
            for name, data in (("small", small), ("large", large)):
                box = await runtime.create_box(name, BoxSpec(limits=limits))

                def install(box: Box, data: bytes) -> None:
                    @box.task
                    def main() -> int:
                        return len(data)

                install(box, data)
                await box.run()
                assert await box.wait() == 0, box.error
                assert box.result == len(data)
            tight = await runtime.create_box("tight", BoxSpec(limits=BoxLimits(max_program_mib=1)))

            @tight.task
            def main() -> int:
                return len(small)

            with pytest.raises(BoxProgramError, match="the limit is 1"):
                await tight.run()
            assert tight.state == "ready"

        self.check(body)

    def test_commands_beside_a_program_that_computes(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.task
            def main() -> None:
                while True:
                    pass

            await box.run()
            at_once = 4 if self.level == "gvisor" else 8  # on ptrace each takes many of its kernel's threads
            for _ in range(self.rounds(100, 3)):
                script = "echo out-$0; echo err-$0 >&2; cat; exit $0"
                ends = await asyncio.gather(
                    *(box.exec("sh", "-c", script, str(n), stdin=f"in-{n}\n") for n in range(at_once))
                )
                assert [(e.exit_code, e.stdout, e.stderr) for e in ends] == [
                    (n, f"out-{n}\nin-{n}\n", f"err-{n}\n") for n in range(at_once)
                ]
            with pytest.raises(TimeoutError):
                await box.exec("sleep", "100", timeout=0.3)
            long = await box.exec("sh", "-c", "yes | head -c 300000", max_output=1000)
            assert len(long.stdout) == 1000 and long.truncated
            with pytest.raises(BoxError, match="no-such-program"):
                await box.exec("no-such-program")
            assert "out-3" in self.texts(box.logs("exec"))
            await box.stop(grace=0.5)

        self.check(body)

    def test_scripts(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            with tempfile.TemporaryDirectory() as directory:
                script = Path(directory) / "receiver.py"
                script.write_text(RECEIVER)
                box = await runtime.create_box("box")
                await box.run_script(script, "one", "2")
                asked = [
                    {"task": "fibonacci", "n": 10},
                    {"task": "double", "value": 42},
                    {"task": "echo"},
                    {"task": "x"},
                ]
                answers = [await runtime.request("box", data) for data in asked]
                assert answers == [{"fibonacci": 55}, {"doubled": 84}, {"task": "echo"}, {"error": "unknown task: x"}]
                await box.stop()
                assert await box.wait() == 0
                assert self.texts(box.logs("stdout")) == ["receiver ['one', '2'] __main__", "served"]
                with pytest.raises(OSError, match=r"nothing\.py"):
                    await box.run_script(Path(directory) / "nothing.py")

        self.check(body)

    def test_handlers_of_a_module_that_only_the_host_has(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            with tempfile.TemporaryDirectory() as directory:
                (Path(directory) / "own_helpers.py").write_text("BASE = 40\ndef add(n):\n    return BASE + n\n")
                (Path(directory) / "own_handlers.py").write_text(
                    "import own_helpers\ndef handle(sender, data):\n    return own_helpers.add(data)\n"
                )
                sys.path.insert(0, directory)
                try:
                    import own_handlers  # type: ignore[import-not-found]

                    box = await runtime.create_box("box")
                    box.on_message(own_handlers.handle)
                    await box.run()
                    assert await runtime.request("box", 2) == 42
                finally:
                    sys.path.remove(directory)
                    for name in ("own_handlers", "own_helpers"):
                        sys.modules.pop(name, None)

        self.check(body)

    def test_output_is_kept_to_the_last_line(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.task
            def main() -> None:
                import os
                import sys

                from shoal_guest import log

                print("out")
                print("err", file=sys.stderr)
                log("logged", level="warning", place=1)
                print("last words", end="", flush=True)
                os._exit(9)

            await box.run()
            assert await box.wait() == 9
            assert self.texts(box.logs("stdout")) == ["out", "last words"]
            assert self.texts(box.logs("stderr")) == ["err"]
            assert "logged" in self.texts(box.logs("log"))[0]
            numbers = [line.seq for line in box.logs()]
            assert numbers == sorted(numbers) and {line.incarnation for line in box.logs()} == {1}

        self.check(body)

    def test_wait_returns_after_all_output(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box")

            @box.task
            def main() -> None:
                for number in range(1000):
                    print(number)

            for number in range(1, 1 + self.rounds(200, 5)):
                await box.run()
                await box.wait()
                lines = [line.text for line in box.logs("stdout") if line.incarnation == number]
                assert lines == [str(n) for n in range(1000)]

        self.check(body)

    def test_the_environment(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            box = await runtime.create_box("box", BoxSpec(env={"OWN": "1"}), env={"ALSO": "2"})

            @box.task
            def main() -> Any:
                import os
                from pathlib import Path

                started_with = Path("/proc/self/environ").read_text() if Path("/proc/self/environ").exists() else ""
                return [dict(os.environ), "SHOAL_TEST_MARKER" in started_with]

            await box.run(env={"RUN": "3"})
            assert await box.wait() == 0, box.error
            env, leaked = box.result
            assert (env["OWN"], env["ALSO"], env["RUN"]) == ("1", "2", "3")
            assert "SHOAL_TEST_MARKER" not in env and not leaked
            shown = await (await runtime.create_box("other")).exec("env")
            assert "SHOAL_TEST_MARKER" not in shown.stdout and "OWN" not in shown.stdout

        os.environ["SHOAL_TEST_MARKER"] = "secret"
        try:
            self.check(body)
        finally:
            del os.environ["SHOAL_TEST_MARKER"]

    def test_files(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            size = self.rounds(64, 8) * _MIB
            data = os.urandom(size)
            spec = BoxSpec(
                files={"/work/in.txt": "text", "in.bin": b"\0\xff"},
                collect=("/work/*.out",),
                limits=BoxLimits(tmp_mib=100, best_effort=True),
            )
            box = await runtime.create_box("box", spec)
            await box.put_file("/work/data", data)
            assert await box.get_file("/work/data") == data
            assert await box.get_file("/work/in.txt") == b"text"
            for path in ("/etc/passwd", "/work/../etc/passwd", "/proc/self/environ"):
                with pytest.raises(BoxError):
                    await box.get_file(path)
                with pytest.raises(BoxError):
                    await box.put_file(path, b"")
            await box.exec("ln", "-s", "/etc/passwd", "link")
            with pytest.raises(BoxError):
                await box.get_file("/work/link")
            with pytest.raises(BoxError, match="missing"):
                await box.get_file("/work/missing")

            @box.task
            def main() -> Any:
                from pathlib import Path

                Path("a.out").write_text("collected")
                Path("b.other").write_text("left")
                return [Path("in.txt").read_text(), Path("in.bin").read_bytes().hex()]

            await box.run()
            assert await box.wait() == 0, box.error
            assert box.result == ["text", "00ff"]
            assert [Path(path).name for path in box.outputs] == ["a.out"]
            assert list(box.outputs.values()) == [b"collected"]

        self.check(body)

    def test_what_cannot_travel_is_named(self) -> None:
        async def body(runtime: BoxRuntime) -> None:
            import threading

            box = await runtime.create_box("box")
            lock = threading.Lock()

            @box.task
            def main() -> None:
                with lock:
                    pass

            with pytest.raises(BoxProgramError, match=r"task main: lock"):
                await box.run()
            assert box.state == "ready"

        self.check(body)
