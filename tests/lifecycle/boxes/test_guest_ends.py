"""How a box's guest ends, and what it is told, prints and does on the way."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.boxes import boxwire, wire
from shoal.boxes.guest.files import OUTPUT_STREAMS
from tests.support.guest import guest

Run = Callable[..., Any]


@pytest.mark.parametrize(
    ("statement", "code", "says_exit"),
    [
        ("pass", 0, True),
        ("sys.exit()", 0, True),
        ("sys.exit(7)", 7, True),
        ("sys.exit(139)", 139, True),
        ("sys.exit('why')", 1, True),
        ("raise ValueError('boom')", 1, True),
        ("os._exit(3)", 3, False),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, False),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -11, False),
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, True),
    ],
)
@pytest.mark.parametrize("where", ["task", "script", "handler", "coroutine"])
def test_exit_codes(run: Run, statement: str, code: int, says_exit: bool, where: str) -> None:
    def act(*_: Any) -> None:
        import os
        import signal
        import sys

        print("last line")
        exec(statement, {"os": os, "sys": sys, "signal": signal})

    async def act_in_loop() -> None:
        act()

    async def main() -> None:
        async with guest() as one:
            if where == "script":
                await one.run_script(f"import os, sys, signal\nprint('last line')\n{statement}\n")
            elif where == "handler":
                await one.run(messages=(act,))
                one.message(1)
                one.send(wire.Stop())
            else:
                await one.run(act if where == "task" else act_in_loop)
            ended = await one.ended()
            assert "last line\n" in one.text()
            raised = "raise" in statement
            if where == "handler" and raised:
                assert (await one.error(1)).text == "boom"
                assert ended == 0
                return
            assert ended == code
            exits = [record for record in one.frames if isinstance(record, boxwire.Exit)]
            assert [record.code for record in exits] == [code] * says_exit
            if raised:
                assert exits[0].error is not None and exits[0].error.text == "boom"
                assert "ValueError: boom" in one.text("stderr")
            assert ("why" in one.text("stderr")) == ("why" in statement)

    run(main)


@pytest.mark.parametrize(
    "busy", ["while True: pass", "time.sleep(100)", "send_message('b', 1, timeout=None)", "threading.Event().wait()"]
)
def test_terminate_raises_in_the_main_thread_whatever_it_does_and_finally_runs(run: Run, busy: str) -> None:
    source = f"""
import time, threading
from shoal_guest import send_message, publish_event
try:
    print("busy")
    {busy}
finally:
    publish_event("bye")
    print("finally")
"""

    async def main() -> None:
        async with guest() as one:
            await one.run_script(source)
            while "busy" not in one.text():
                await asyncio.sleep(0.01)
            one.send(boxwire.Terminate())
            one.answer((await one.frame(boxwire.Publish)).id, 0)
            assert (await one.frame(boxwire.Exit)).code == 143
            assert await one.ended() == 143
            assert one.text() == "busy\nfinally\n"

    run(main)


def test_terminate_while_it_serves(run: Run) -> None:
    async def main() -> None:
        async def answer(sender: str, data: Any) -> Any:
            return data

        def plain(sender: str, data: Any) -> Any:
            return data

        for handler in (answer, plain):
            async with guest() as one:
                await one.run(messages=(handler,))
                one.message(1, 1)
                assert await one.reply(1) == 1
                one.send(boxwire.Terminate())
                assert await one.ended() == 143

    run(main)


def test_it_leaves_with_seventy_when_nobody_speaks_to_it_any_more(run: Run) -> None:
    async def main() -> None:
        for source in ("while True: pass", "import time; time.sleep(100)", "from shoal_guest import *; run_forever()"):
            async with guest() as one:
                await one.run_script(source)
                one.child.channel.close()
                assert await one.ended() == 70

    run(main)


def test_a_ping_is_answered_while_the_program_computes(run: Run) -> None:
    async def main() -> None:
        async with guest() as one:
            await one.run_script("while True: pass")
            for number in range(20):
                one.send(wire.Ping(id=number))
                assert (await one.frame(wire.Pong)).id == number

    run(main)


def test_what_is_printed_never_is_a_frame_and_comes_before_the_next_frame(run: Run) -> None:
    def task() -> None:
        import os
        import sys

        from shoal_guest import publish_event

        print(42)
        print([])
        print('{"type":"send"}')
        print('\x00\x00\x00\x0fJ{"type":"pong"}')
        sys.stderr.write("to stderr\n")
        print("no end", end="")
        publish_event("now")
        os.write(1, bytes(range(256)))
        sys.stdout.close()
        publish_event("after")

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            first = await one.frame(boxwire.Publish, event="now")
            for output in (one.child.stdout, one.child.stderr):
                output.read()
            assert one.text() == '42\n[]\n{"type":"send"}\n\x00\x00\x00\x0fJ{"type":"pong"}\n'
            assert one.child.stdout._rest == "no end"
            assert one.text("stderr") == "to stderr\n"
            one.answer(first.id, 0)
            one.answer((await one.frame(boxwire.Publish, event="after")).id, 0)
            assert await one.ended() == 0
            assert "no end" in one.text() and "\\xff" in one.text()

    run(main)


@pytest.mark.parametrize("statement", ["raise ValueError", "sys.exit('why')", "sys.exit(1)"])
def test_a_program_that_closed_its_output_ends_as_others_do(run: Run, statement: str) -> None:
    async def main() -> None:
        async with guest() as one:
            await one.run_script(f"import sys\nsys.stderr.close()\nsys.stdout = None\n{statement}")
            assert await one.ended() == 1

    run(main)


def test_a_forked_child_does_not_speak_for_the_box(run: Run) -> None:
    def task() -> Any:
        import os

        from shoal_guest import send_message

        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                send_message("b", "from the child")
            except RuntimeError as error:
                os.write(writing, str(error).encode())
            return None  # the child ends as the box would, and says nothing
        os.wait()
        return os.read(reading, 1000).decode()

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            end = await one.frame(boxwire.Exit)
            assert "forked" in msgspec.json.decode(end.result)
            assert await one.ended() == 0
            assert not [record for record in one.frames if isinstance(record, (boxwire.Send, boxwire.Exit))]

    run(main)


def test_threads_of_the_program_are_waited_for(run: Run) -> None:
    def task() -> None:
        import threading
        import time
        from concurrent.futures import ThreadPoolExecutor

        ThreadPoolExecutor().submit(print, "pooled")

        def late() -> None:
            time.sleep(0.1)
            print("thread")

        threading.Thread(target=late).start()

    async def main() -> None:
        async with guest() as one:
            await one.run(task)
            assert await one.ended() == 0
            assert sorted(one.text().split()) == ["pooled", "thread"]

    run(main)


def test_limits_are_set_before_any_user_code(run: Run) -> None:
    def task() -> Any:
        import resource

        return [resource.getrlimit(limit) for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]

    async def main() -> None:
        async with guest() as one:
            await one.run(task, rlimits={"nofile": 200, "core": 0})
            assert msgspec.json.decode((await one.frame(boxwire.Exit)).result) == [[200, 200], [0, 0]]

    run(main)


# -- commands


def test_eight_commands_at_once_beside_a_loop_and_their_outputs_are_not_mixed(run: Run) -> None:
    async def main() -> None:
        async with guest() as one:
            await one.run_script("while True: pass")
            ends = await asyncio.gather(
                *(
                    one.exec("sh", "-c", f"echo out{n}; echo err{n} >&2; cat; exit {n}", number=n, stdin=b"in%d" % n)
                    for n in range(2, 10)
                )
            )
            assert [end.exit_code for end in ends] == list(range(2, 10))
            for n in range(2, 10):
                assert one.streams[2 * n] == b"out%d\nin%d" % (n, n)
                assert one.streams[2 * n + 1] == b"err%d\n" % n

    run(main)


def test_commands_env_cwd_large_input_truncation_signals_and_failures(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with guest() as one:
            one.assign(env={"PATH": os.environ["PATH"], "BASE": "b"})
            end = await one.exec("sh", "-c", "echo $BASE $MORE; pwd", number=1, env={"MORE": "m"}, cwd=str(tmp_path))
            assert (end.exit_code, bytes(one.streams[2])) == (0, f"b m\n{tmp_path}\n".encode())
            data = os.urandom(3 << 20)
            end = await one.exec("cat", number=2, stdin=data, max_output=4 << 20)
            assert (end.truncated, bytes(one.streams[4]) == data) == (False, True)
            end = await one.exec("sh", "-c", "yes | head -c 3000000", number=3)
            assert (end.truncated, len(one.streams[6])) == (True, 1 << 20)
            assert (await one.exec("sh", "-c", "kill -9 $$")).exit_code == -9
            missing = await one.exec("/does/not/exist")
            assert missing.error is not None and missing.error.type == "FileNotFoundError"
            nowhere = await one.exec("true", cwd="/does/not/exist")
            assert nowhere.error is not None
            # What a command leaves behind keeps nobody waiting.
            assert (await one.exec("sh", "-c", "sleep 30 & echo $!", number=9)).exit_code == 0
            os.kill(int(one.streams[18]), signal.SIGKILL)

    run(main)


def test_killing_a_command_ends_its_process_group(run: Run) -> None:
    async def main() -> None:
        async with guest() as one:
            one.assign()
            one.send(boxwire.Exec(id=5, command=("sh", "-c", "sleep 100 & echo $!; wait")))
            while not one.streams.get(10, b"").endswith(b"\n"):
                await asyncio.sleep(0.01)
            one.send(boxwire.ExecKill(id=5))
            assert (await one.frame(boxwire.ExecEnd)).exit_code == -9
            pid = int(one.streams[10])
            while Path(f"/proc/{pid}/stat").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text():
                await asyncio.sleep(0.01)
            one.send(boxwire.Exec(id=6, command=("sleep", "100")), boxwire.ExecKill(id=6), boxwire.ExecKill(id=7))
            assert (await one.frame(boxwire.ExecEnd)).exit_code == -9

    run(main)


# -- files


def test_files_go_in_and_come_out_below_the_directories_only(run: Run, tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "link").symlink_to(outside)
    (inside / "secret").symlink_to(outside / "secret")
    os.mkfifo(inside / "pipe")

    async def main() -> None:
        async with guest() as one:
            one.assign(write=(str(inside),))

            async def put(number: int, path: str | Path, data: bytes) -> boxwire.File:
                one.send_stream(number, data)
                one.send(boxwire.PutFile(id=number, path=str(path), size=len(data)))
                return await one.frame(boxwire.File, id=number)

            async def get(number: int, path: str | Path, limit: int = 64 << 20) -> boxwire.File:
                one.send(boxwire.GetFile(id=number, path=str(path), limit=limit))
                return await one.frame(boxwire.File, id=number)

            data = os.urandom(64 << 20)
            assert await put(1, inside / "new" / "file", data) == boxwire.File(id=1, size=len(data))
            assert (inside / "new" / "file").read_bytes() == data
            assert await get(1 << 40, inside / "new" / "file") == boxwire.File(id=1 << 40, size=len(data))
            assert one.streams[1 << 40] == data
            assert (await put(2, inside / "empty", b"")).error is None
            for path in (
                outside / "x",
                inside / ".." / "out" / "x",
                inside / "link" / "x",
                "/",
                str(inside),
                f"{inside}/",
            ):
                record = await put(3, path, b"x")
                assert record.error is not None and record.error.type in ("PermissionError", "IsADirectoryError"), path
            assert (await put(4, inside / "secret", b"mine")).error is not None  # a link is followed, and leads outside
            assert (outside / "secret").read_text() == "secret"
            for path in (inside / "link" / "secret", inside / "secret", outside / "secret", "/etc/hostname"):
                record = await get(5, path)
                assert record.error is not None and record.error.type == "PermissionError", path
            for path in (inside / "pipe", inside / "new", inside / "missing"):
                assert (await get(6, path)).error is not None
            large = await get(7, inside / "new" / "file", 1000)
            assert large.error is not None and "more than 1000 bytes" in large.error.text
            assert sorted(os.listdir(outside)) == ["secret"] and sorted(os.listdir(inside / "new")) == ["file"]

    run(main)


def test_what_the_globs_name_is_collected_at_the_end(run: Run, tmp_path: Path) -> None:
    def task() -> None:
        import os

        os.makedirs("deep/er")
        for path in ("a.txt", "deep/er/b.txt", "c.bin"):
            with open(path, "w") as file:
                file.write(path)

    async def main() -> None:
        async with guest() as one:
            await one.run(task, cwd=str(tmp_path), collect=("*.txt", "**/b.txt", "nothing"))
            end = await one.frame(boxwire.Exit)
            assert end.outputs == {"a.txt": OUTPUT_STREAMS, "deep/er/b.txt": OUTPUT_STREAMS + 1}
            assert {path: bytes(one.streams[number]).decode() for path, number in end.outputs.items()} == {
                "a.txt": "a.txt",
                "deep/er/b.txt": "deep/er/b.txt",
            }
            await one.ended()

    run(main)


def test_large_data_both_ways_at_once_blocks_nobody(run: Run) -> None:
    """Each side writes more than the socket holds before it reads: the reader of the box never waits to write."""

    def on_message(sender: str, data: Any) -> Any:
        return data

    async def main() -> None:
        async with guest() as one:
            await one.run(messages=(on_message,))
            data = "x" * (1 << 20)
            one.child.channel.pause()
            for number in range(20):
                one.message(number, data)
                one.send(wire.Ping(id=number))
            while one.child.channel.unsent:
                await asyncio.sleep(0.01)
            one.child.channel.resume()
            for number in range(20):
                assert await one.reply(number) == data
                await one.frame(wire.Pong)

    run(main)
