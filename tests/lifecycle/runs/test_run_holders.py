"""One holder of a run at a time: the others are told who has it, and who lost it writes nothing more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal import AgentRuntime
from shoal.errors import RunActiveError
from shoal.kernel.run import RunStatus
from tests.lifecycle.runs.compositions import gated
from tests.lifecycle.runs.killing import ROOT, calls
from tests.support.backend import store_at

SHORT = {"lease_seconds": 2, "durability": "normal", "poll_seconds": 0.1}


def start_holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that carries out the run ``r``, and wait until its second agent is asked."""
    names = [store_at(folder / "runs.db"), str(folder / "calls.log"), "gated", "r", ""]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.runs.run_node", *names],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "asked b\n"
    return process


def end(process: subprocess.Popen[str]) -> tuple[str, str]:
    if process.poll() is None:
        process.kill()
    out, err = process.communicate(timeout=30)
    return out, err


@pytest.mark.spec("O28")
def test_a_run_that_another_process_carries_out_is_refused_with_its_node(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    process = start_holder(tmp_path)

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            with pytest.raises(RunActiveError) as refused:
                await runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")
            assert refused.value.node == runtime.runs.get("r").node_id
            (tmp_path / "go").touch()
            out, err = await asyncio.to_thread(process.communicate, timeout=30)
            assert process.returncode == 0, err
            mine = await runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")
            assert mine.content == msgspec.json.decode(out)["result"]["content"]

    try:
        run(main)
    finally:
        end(process)
    assert calls(tmp_path) == Counter("abc")


@pytest.mark.spec("O28")
def test_a_holder_that_was_stopped_past_its_lease_writes_nothing_more(tmp_path: Path, run: Callable[..., Any]) -> None:
    process = start_holder(tmp_path)
    os.kill(process.pid, signal.SIGSTOP)

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            while runtime.runs.get("r").node_id is not None:  # until its lease has ended
                await asyncio.sleep(0.05)
            assert runtime.runs.get("r").status is RunStatus.INTERRUPTED
            handle = runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")
            while not any(event.type == "step_started" for event in await _seen(runtime, "r")):
                await asyncio.sleep(0.01)
            os.kill(process.pid, signal.SIGCONT)
            (tmp_path / "go").touch()
            result = await handle
            assert result.success
            _, err = await asyncio.to_thread(process.communicate, timeout=30)
            assert process.returncode != 0 and "LeaseLostError" in err
            steps = [step.key for step in runtime.runs.steps("r")]
            assert steps == ["0:a/chat", "1:b/chat", "2:c/chat"]
            assert sum(event.type == "run_finished" for event in await _seen(runtime, "r")) == 1

    try:
        run(main)
    finally:
        os.kill(process.pid, signal.SIGCONT) if process.poll() is None else None
        end(process)
    assert calls(tmp_path) == Counter("abbc")  # the one that was asked by both


async def _seen(runtime: AgentRuntime, run_id: str) -> list[Any]:
    return list(runtime.store.runs.events(run_id))


@pytest.mark.spec("O28")
def test_a_registered_pattern_goes_on_without_a_caller(tmp_path: Path, run: Callable[..., Any]) -> None:
    process = start_holder(tmp_path)
    end(process)
    (tmp_path / "go").touch()

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            runtime.runs.register("gated", lambda: gated(tmp_path / "calls.log"))
            while runtime.runs.get("r").status is not RunStatus.COMPLETED:
                await asyncio.sleep(0.02)
            assert (await runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")).content.startswith("c(")

    run(main)
    assert calls(tmp_path) == Counter("abbc")


def test_a_runtime_that_stops_lets_its_runs_go_and_the_next_one_goes_on(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            handle = runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")
            while calls(tmp_path) != Counter("ab"):
                await asyncio.sleep(0.01)
        assert handle.done and handle.status is RunStatus.INTERRUPTED
        (tmp_path / "go").touch()
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            assert runtime.runs.get("r").status is RunStatus.INTERRUPTED
            assert (await runtime.run(gated(tmp_path / "calls.log"), "the task", run_id="r")).success

    run(main)
    assert calls(tmp_path) == Counter("abbc")
