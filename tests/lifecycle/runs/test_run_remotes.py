"""Registered agents in patterns: inline, in a process, in a box, on another node; callee and caller killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Budget, TaskStatus
from shoal.orchestration import Pipeline
from tests.lifecycle.runs.compositions import Handler, Logged, Upper
from tests.lifecycle.runs.killing import ROOT, calls
from tests.support.backend import store_at

SHORT = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


@contextmanager
def node(folder: Path, *role: str) -> Iterator[subprocess.Popen[str]]:
    """Start a node in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "tests.lifecycle.runs.remote_node",
        store_at(folder / "runs.db"),
        str(folder / "calls.log"),
    ]
    process = subprocess.Popen([*command, *role], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.spec("O45")
def test_agents_inline_in_a_process_in_a_box_and_on_another_node_in_one_pipeline(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    config = {"log": str(tmp_path / "calls.log")}

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            for name, options in (
                ("here", {}),
                ("process", {"isolation": "process"}),
                ("box", {"isolation": "bubblewrap"}),
            ):
                source: Any = Handler if name == "box" else Upper
                await runtime.register_agent(name, source, None if name == "box" else config, **options)  # type: ignore[arg-type]
                await runtime.start_agent(name)
            chain = Pipeline(
                [Logged("a", tmp_path / "calls.log", lambda text: text + "1"), *_far(runtime)], name="chain"
            )
            result = await runtime.run(chain, "x", run_id="r")
            assert result.success, result
            assert [step.output for step in result.steps] == ["x1", "X1", "X1", "handled X1", "HANDLED X1"]
            again = await runtime.run(chain, "x", run_id="r")
            assert again.steps == result.steps
            assert (result.usage.calls, result.usage.cost_pico, result.usage.unpriced_calls) == (5, 4 * 10**10, 1)

    with node(tmp_path) as process:
        assert said(process) == "ready"
        run(main)
    assert calls(tmp_path) == {"a": 1, "upper": 3}


def _far(runtime: AgentRuntime) -> list[Any]:
    return [runtime.agent(name, timeout=20) for name in ("here", "process", "box", "far")]


@pytest.mark.spec("O45")
def test_the_step_of_an_agent_that_is_killed_fails_within_a_second(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            await runtime.register_agent("p", Upper, {"log": str(tmp_path / "calls.log")}, isolation="process")
            await runtime.start_agent("p")
            asked = asyncio.get_running_loop().time()
            result = await runtime.run(Pipeline([runtime.agent("p")]), "die")
            assert not result.success and "died" in (result.error or "")
            assert (
                asyncio.get_running_loop().time() - asked < 5
            )  # the death is told within 1 s; starting the call is not held

    run(main)


@pytest.mark.spec("O45")
def test_a_caller_who_was_killed_finds_the_finished_work_of_another_node(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    with node(tmp_path) as callee:
        assert said(callee) == "ready"
        with node(tmp_path, "ask") as caller:
            while calls(tmp_path) != {"a": 1, "upper": 1}:
                assert caller.poll() is None, caller.communicate()
            caller.kill()
        (tmp_path / "go").touch()
        with node(tmp_path, "ask") as caller:
            assert said(caller) == "A(4)"
    assert calls(tmp_path) == {"a": 1, "upper": 1}


@pytest.mark.parametrize("how", ["time-out", "cancel", "stop"])
def test_a_question_ends_with_whoever_asked_it_unless_his_node_ends(
    tmp_path: Path, run: Callable[..., Any], how: str
) -> None:
    asking_budget = Budget(max_cost=1.0)

    def asking(runtime: AgentRuntime) -> Any:
        timeout = 0.2 if how == "time-out" else None
        return Pipeline([runtime.agent("far")], step_timeout=timeout, name="asking")

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            handle = runtime.run(asking(runtime), "wait", run_id="r", budget=asking_budget)
            while not calls(tmp_path):
                await asyncio.sleep(0.01)
            (asked,) = runtime.list_tasks()
            if how == "cancel":
                await handle.cancel("enough")
            if how != "stop":
                result = await handle
                assert result.stopped == ("cancelled" if how == "cancel" else None) and not result.success
                assert (await runtime.wait_for_task(asked.task_id)).status is TaskStatus.CANCELLED
        (tmp_path / "go").touch()
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            again = await runtime.run(asking(runtime), "wait", run_id="r", budget=asking_budget)
            assert again.success is (how != "time-out")
            assert calls(tmp_path) == {"upper": 2 if how == "cancel" else 1}

    with node(tmp_path) as process:
        assert said(process) == "ready"
        run(main)
