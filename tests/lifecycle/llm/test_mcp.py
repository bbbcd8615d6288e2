"""A real MCP server beside us: listed, called, late, killed with us; by address, too."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import MissingExtraError, ToolError, ToolTimeoutError
from shoal.llm.mcp import MCPTools
from shoal.llm.toolbox import Toolbox
from tests.support.processes import gone, script
from tests.support.toolruns import Life, asked

pytest.importorskip("mcp")

Run = Callable[..., Any]
SERVER = Path(__file__).parents[2] / "support" / "mcp_server.py"
PARENT = Path(__file__).with_name("mcp_parent.py")
COMMAND = [sys.executable, str(SERVER)]
DEATH_SECONDS = 2.0
HANG_SECONDS = 20.0


@asynccontextmanager
async def opened(*tools: object, **options: Any) -> AsyncIterator[Life]:
    life = Life(tools, **options)
    try:
        await life.box.open()
        yield life
    finally:
        await life.box.aclose()


async def ended(pid: int) -> bool:
    """Wait until a process has ended; False if it does not."""
    deadline = time.monotonic() + HANG_SECONDS
    while not gone(pid):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


@pytest.mark.spec("O37")
def test_a_server_is_listed_called_late_and_started_anew(run: Run) -> None:
    async def main() -> None:
        async with opened(MCPTools(COMMAND, env={"SHELF": "A3"}, timeout=30)) as life:
            specs = {spec.name: spec for spec in life.box.specs()}
            assert specs["add"].description == "Add two numbers."
            assert specs["add"].parameters["required"] == ["a"]
            assert (await life.call(asked("add", a=2, b=3))).content == "5"
            assert (await life.call(asked("look_up", word="owl"))).content == "owl in A3"
            failed = await life.call(asked("fail"))
            assert (failed.success, failed.content) == (
                False,
                "Error: ToolError: Error executing tool fail: no such book",
            )
            assert "a\n  Field required" in (await life.call(asked("add"))).content
            assert (await life.call(asked("nope"))).error is not None
            effects = {name: tool.effect for name in specs if (tool := life.box.get(name)) is not None}
            assert {name for name, effect in effects.items() if effect == "once"} == {"burn"}
            first = int((await life.call(asked("pid"))).content)
            died = await life.call(asked("die"))
            assert died.content == "Error: ToolError: the MCP server ended while 'die' ran"
            assert int((await life.call(asked("pid"))).content) != first
            assert await ended(first)

    run(main)


@pytest.mark.spec("O37")
def test_a_late_call_is_told_and_the_next_one_works(run: Run) -> None:
    async def main() -> None:
        async with opened(MCPTools(COMMAND, timeout=30)) as life:
            slow = life.box.get("slow")
            assert slow is not None and slow.timeout == 30
            slow.timeout = 0.2
            late = await life.call(asked("slow", seconds=60))
            assert late.error == "ToolTimeoutError: tool 'slow' did not end within 0.2 s"
            assert (await life.call(asked("add", a=1))).content == "2"

    run(main)


@pytest.mark.spec("O37")
@pytest.mark.parametrize("mode", ["plain", "own", "stubborn"])
def test_nothing_lives_after_the_parent_was_killed(mode: str) -> None:
    with script(PARENT, str(SERVER), mode) as parent:
        pids = parent.hear()
        assert parent.hear() == [True, True]  # a process group of its own
        assert len(pids) == (5 if mode == "stubborn" else 4) and not any(gone(pid) for pid in pids)
        parent.signal(signal.SIGKILL)
        deadline = time.monotonic() + DEATH_SECONDS
        while left := [pid for pid in pids if not gone(pid)]:
            assert time.monotonic() < deadline, f"{left} of {pids} are alive"
            time.sleep(0.01)


def test_it_ends_with_aclose_with_its_tools_and_with_the_loop() -> None:
    async def closed() -> int:
        async with opened(MCPTools(COMMAND)) as life:
            return int((await life.call(asked("pid"))).content)

    async def dropped() -> None:
        life = Life([MCPTools(COMMAND)])
        await life.box.open()
        pid = int((await life.call(asked("pid"))).content)
        del life
        gc.collect()
        assert await ended(pid)

    async def dropped_as_the_loop_ends(turns: int) -> int:
        life = Life([MCPTools(COMMAND)])
        await life.box.open()
        pid = int((await life.call(asked("pid"))).content)
        del life
        gc.collect()
        for _ in range(turns):
            await asyncio.sleep(0)
        return pid

    async def left() -> tuple[Toolbox, int]:
        life = Life([MCPTools(COMMAND)])
        await life.box.open()
        return life.box, int((await life.call(asked("pid"))).content)

    assert gone(asyncio.run(closed()))
    asyncio.run(dropped())
    for turns in (1, 3, 10):
        assert gone(asyncio.run(dropped_as_the_loop_ends(turns)))
    box, pid = asyncio.run(left())
    assert gone(pid)

    async def again() -> None:
        await box.open()
        assert len(box.specs()) == 8
        await box.aclose()

    asyncio.run(again())


def test_include_and_exclude(run: Run) -> None:
    async def main() -> None:
        async with opened(MCPTools(COMMAND, include=["add", "pid", "die"], exclude=["die"])) as life:
            assert [spec.name for spec in life.box.specs()] == ["add", "pid"]
        with pytest.raises(ToolError, match=r"has no tool 'ad'; did you mean 'add'\?; it has: add, look.up"):
            async with opened(MCPTools(COMMAND, include=["ad"])):
                pass

    run(main)


def test_a_clash_of_names_gives_the_servers_name_as_prefix(run: Run) -> None:
    def add(a: int) -> int:
        return -a

    async def main() -> None:
        async with opened(add, MCPTools(COMMAND, include=["add", "pid"])) as life:
            assert [spec.name for spec in life.box.specs()] == ["add", "shelf_add", "pid"]
            assert (await life.call(asked("add", a=1))).content == "-1"
            assert (await life.call(asked("shelf_add", a=1))).content == "2"
        two = [MCPTools(COMMAND, include=["pid"]) for _ in range(2)]
        async with opened(*two) as life:
            assert [spec.name for spec in life.box.specs()] == ["shelf_pid", "shelf_pid_2"]
            pids = {(await life.call(asked(spec.name))).content for spec in life.box.specs()}
            assert len(pids) == 2

    run(main)


def test_an_approval_for_all_of_a_server(run: Run) -> None:
    async def no(_: object) -> bool:
        return False

    async def main() -> None:
        async with opened(MCPTools(COMMAND, approval=True)) as life:
            assert (await life.call(asked("add", a=1), decide=no)).content == "Error: 'add' was denied; it was not run"

    run(main)


@contextmanager
def over_http() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, "http", str(port)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + HANG_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait()


def test_a_server_at_an_address(run: Run) -> None:
    async def main(url: str) -> None:
        async with opened(MCPTools(url=url, timeout=30)) as life:
            assert (await life.call(asked("add", a=2))).content == "3"
            assert not (await life.call(asked("fail"))).success

    with over_http() as url:
        run(lambda: main(url))


@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        (["no-such-command-here"], ToolError, "there is no command 'no-such-command-here'"),
        (["false"], ToolError, "the MCP server 'false' cannot be used: "),
        (["sleep", "1000"], ToolTimeoutError, "the MCP server 'sleep 1000' was not ready within 0.5 s"),
    ],
)
def test_a_command_that_is_no_server(run: Run, command: list[str], kind: type[Exception], words: str) -> None:
    async def main() -> None:
        with pytest.raises(kind) as raised:
            async with opened(MCPTools(command, timeout=0.5 if command[0] == "sleep" else 30)):
                pass
        assert words in str(raised.value)

    run(main)


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with pytest.raises(MissingExtraError, match="MCPTools needs the extra 'mcp'"):
            async with opened(MCPTools(COMMAND)):
                pass

    monkeypatch.setitem(sys.modules, "mcp", None)
    run(main)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({}, ValueError, "MCPTools needs command=[...] or url=..., one of the two"),
        ({"command": ["a"], "url": "http://a"}, ValueError, "one of the two"),
        ({"command": "uvx server"}, TypeError, "it must be a list of words"),
        ({"command": []}, TypeError, "it must be a list of words"),
        ({"url": "ftp://a"}, ValueError, "url='ftp://a'): it must begin with http:// or https://"),
        ({"command": ["a"], "timeout": 0}, ValueError, "timeout=0): it must be a number of seconds above 0"),
        ({"command": ["a"], "include": "add"}, TypeError, "include='add'): it must be a list of names"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as raised:
        MCPTools(**arguments)
    assert words in str(raised.value)
