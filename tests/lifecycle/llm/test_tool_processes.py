"""Tools in processes and boxes of their own: what they give back, how they end, and who may start them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.kernel.ambient import current_ambient
from shoal.kernel.running import NodeAmbient
from shoal.llm.locks import get_lock
from shoal.llm.tools import Tool, ToolContext, tool
from tests.support.backend import store_at
from tests.support.levels import chosen, need
from tests.support.processes import gone
from tests.support.toolruns import Life, asked

pytestmark = pytest.mark.usefixtures("backend")

Run = Callable[..., Any]


@asynccontextmanager
async def in_a_runtime(tmp_path: Path, *tools: object) -> AsyncIterator[Life]:
    """A life of a run as ``runtime.run`` carries it out."""
    async with AgentRuntime(store_at(tmp_path / "shoal.db")) as runtime:
        assert runtime._env is not None
        current_ambient.set(NodeAmbient(runtime._env))
        yield Life(tools)
        current_ambient.set(None)


def own_pid(ctx: ToolContext, add: int = 0) -> dict[str, Any]:
    return {"pid": os.getpid(), "key": ctx.key, "user": ctx.user_id, "add": add, "cancelled": ctx.cancelled()}


async def own_pid_async() -> int:
    await asyncio.sleep(0)
    return os.getpid()


def spin(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    while True:
        pass


def test_code_runs_in_a_process_and_its_result_comes_back(run: Run, tmp_path: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    def leave() -> None:
        os._exit(7)

    async def main() -> None:
        tools = [Tool(fn, isolation="process") for fn in (own_pid, own_pid_async, fail, leave)]
        async with in_a_runtime(tmp_path, *tools) as life:
            record = await life.call(asked("own_pid", add=3))
            step = life.live.recorded["tool1:own_pid"].output
            assert isinstance(step, dict) and step["content"] == record.content
            assert '"user":"ann","add":3,"cancelled":false}' in record.content
            pids = {int(record.content.split('"pid":')[1].split(",")[0])}
            pids.add(int((await life.call(asked("own_pid_async"))).content))
            assert len(pids) == 2 and os.getpid() not in pids and all(gone(pid) for pid in pids)
            assert (await life.call(asked("fail"))).error == "ValueError: no"
            died = (await life.call(asked("leave"))).error
            assert died is not None and "died (exit code 7)" in died

    run(main)


@pytest.mark.spec("O34")
def test_a_sync_tool_in_a_process_is_dead_at_its_time_out(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with in_a_runtime(tmp_path, Tool(spin, isolation="process", timeout=3.0)) as life:
            record = await life.call(asked("spin", path=str(tmp_path / "pid")))
            pid = int((tmp_path / "pid").read_text())
            assert gone(pid)
            assert record.error == "ToolTimeoutError: tool 'spin' did not end within 3 s; its process was killed"
            assert record.duration_ms >= 3000

    run(main)


def test_a_cancelled_caller_leaves_no_process(run: Run, tmp_path: Path) -> None:
    async def main() -> None:
        async with in_a_runtime(tmp_path, Tool(spin, isolation="process")) as life:
            path = tmp_path / "pid"
            work = asyncio.ensure_future(life.call(asked("spin", path=str(path)), "t1"))
            while not (path.exists() and path.read_text()):
                assert not work.done(), work.result()
                await asyncio.sleep(0.01)
            work.cancel()
            await asyncio.wait([work])
            assert work.cancelled() and gone(int(path.read_text()))
            assert "t1" not in life.live.recorded

    run(main)


def test_a_lock_holds_across_the_processes_of_tools(run: Run, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")

    @tool(isolation="process")
    async def count(path: str) -> int:
        async with get_lock("counter", "one"):
            now = int(Path(path).read_text())
            await asyncio.sleep(0.02)
            Path(path).write_text(str(now + 1))
        return now

    async def main() -> None:
        async with in_a_runtime(tmp_path, count) as life:
            calls = (life.call(asked("count", path=str(counter)), f"t{number}") for number in range(4))
            records = await asyncio.gather(*calls)
            assert sorted(record.content for record in records) == ["0", "1", "2", "3"], records

    run(main)


@pytest.mark.parametrize("level", chosen("bubblewrap", long=("gvisor",)))
def test_code_runs_behind_walls(run: Run, tmp_path: Path, level: str) -> None:
    need(level)
    secret = tmp_path / "secret"
    secret.write_text("mine")

    def look(path: str) -> bool:
        return Path(path).exists()

    async def main() -> None:
        async with in_a_runtime(tmp_path, Tool(look, isolation=level)) as life:
            assert (await life.call(asked("look", path=str(secret)))).content == "false"

    run(main)


async def agent(task: Any) -> dict[str, Any]:
    """An agent that has a tool run in a process."""
    import os

    from shoal.kernel.starting import live_in_memory
    from shoal.llm import ToolCall
    from shoal.llm.toolbox import Toolbox
    from shoal.llm.tools import Tool

    def pid() -> int:
        return os.getpid()

    box = Toolbox([Tool(pid, isolation="process")])
    record = await box.run(ToolCall(call_id="c", name="pid"), scope=live_in_memory("test").root, segment="t")
    return {"agent": os.getpid(), "tool": record.content}


@pytest.mark.parametrize("level", chosen("inline", "process", "bubblewrap"))
def test_an_agent_in_a_process_may_start_one_and_one_behind_walls_may_not(run: Run, tmp_path: Path, level: Any) -> None:
    if level == "bubblewrap":
        need(level)

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "shoal.db")) as runtime:
            await runtime.register_agent("agent", agent, isolation=level)
            await runtime.start_agent("agent")
            done = await runtime.wait_for_task(await runtime.submit_task("work", {}, agent="agent"))
            assert done.output_data is not None, done.error_message
            answer = done.output_data["tool"]
            if level == "bubblewrap":
                assert "may not run in 'process': its agent stands behind stronger walls, 'bubblewrap'" in answer
            else:
                assert int(answer) not in (done.output_data["agent"], os.getpid())
                assert gone(int(answer))

    run(main)
