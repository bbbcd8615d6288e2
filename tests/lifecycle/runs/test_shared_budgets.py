"""One budget for the agents of two processes: it holds, and what each of them used is counted once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Budget, Usage
from shoal.kernel.budget import Account, Amount
from shoal.kernel.run import RunStatus
from shoal.orchestration import ParallelAgents, Pipeline
from tests.lifecycle.runs.killing import ROOT
from tests.lifecycle.runs.purse import CALLS, SHORT, spender
from tests.support.backend import store_at

AGENTS = 25  # in each process
LIMIT_PICO = 250_000


@contextmanager
def far_node(folder: Path, agents: int, seed: int, kill_at: int = 0) -> Iterator[subprocess.Popen[str]]:
    """Start the other process, with its agents; its call number *kill_at* is its last."""
    words = [store_at(folder / "runs.db"), str(folder / "log"), str(agents), str(seed), str(kill_at)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.runs.purse", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def really_spent(folder: Path) -> list[int]:
    """Return what each call has really cost, in both processes."""
    log = folder / "log"
    return [int(line.split()[1]) for line in log.read_text().splitlines()] if log.exists() else []


def both(runtime: AgentRuntime, folder: Path, agents: int, seed: int, here: int | None = None) -> ParallelAgents:
    """Return a panel of *agents* of the other process and as many, or so many, from here."""
    mine = [spender(f"here{number}", folder / "log", seed) for number in range(agents if here is None else here)]
    return ParallelAgents([*mine, *(runtime.agent(f"far{number}", timeout=60) for number in range(agents))], timeout=60)


async def check(runtime: AgentRuntime, folder: Path, result: Any) -> Account:
    """Hold the account of the run to its limit, to what was really spent, and to the totals of both processes."""
    account = await runtime.store.runs.account("r")
    while account.held != Amount():  # the other process goes on with what it was asked
        assert account.used.cost_pico <= LIMIT_PICO
        await asyncio.sleep(0.01)
        account = await runtime.store.runs.account("r")
    assert account.spent.cost_pico + account.lost.cost_pico <= LIMIT_PICO
    spent = really_spent(folder)
    assert account.spent.cost_pico + account.lost.cost_pico >= sum(spent)
    record = runtime.runs.get("r")
    assert record.usage == result.usage
    return account


@pytest.mark.spec("O31")
@pytest.mark.long
def test_fifty_agents_of_two_processes_stay_within_one_budget(
    tmp_path: Path, run: Callable[..., Any], rounds: Callable[[int, int], int]
) -> None:
    async def main(folder: Path, seed: int) -> None:
        async with AgentRuntime(store_at(folder / "runs.db"), config=SHORT) as runtime:
            pattern = both(runtime, folder, AGENTS, seed)
            handle = runtime.run(pattern, "spend", run_id="r", budget=Budget(max_cost=LIMIT_PICO * 1e-12))
            result = await handle
            assert (result.stopped, result.success) == ("budget", False), result
            assert handle.status is RunStatus.INTERRUPTED
            account = await check(runtime, folder, result)
            spent = really_spent(folder)
            assert account.spent.calls <= len(spent) <= account.used.calls
            assert len(spent) > AGENTS / 2

    seeds = rounds(20, 3)
    for seed in range(seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with far_node(folder, AGENTS, seed):
            run(lambda folder=folder, seed=seed: main(folder, seed))
    assert sum("far" in (tmp_path / f"{seed}" / "log").read_text() for seed in range(seeds)) > seeds / 2


@pytest.mark.spec("O31")
def test_what_a_callee_used_is_counted_once_in_the_budget_and_once_in_the_totals(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            pattern = Pipeline([both(runtime, tmp_path, 3, 1)], name="whole")
            result = await runtime.run(pattern, "spend", run_id="r", budget=Budget(max_cost=1.0))
            assert result.success, result
            spent = really_spent(tmp_path)
            assert len(spent) == 2 * 3 * CALLS
            expected = Usage(
                calls=len(spent), tool_calls=6, input_tokens=len(spent), cost_pico=sum(spent), output_tokens=0
            )
            assert result.usage == _with_output(expected, result.usage)
            account = await check(runtime, tmp_path, result)
            assert account.spent == Amount.of(result.usage) and account.lost == Amount()
            again = await runtime.run(pattern, "spend", run_id="r")
            assert again == result and really_spent(tmp_path) == spent

    with far_node(tmp_path, 3, 1):
        run(main)


def _with_output(usage: Usage, other: Usage) -> Usage:
    return usage + Usage(output_tokens=other.output_tokens)


@pytest.mark.spec("O32")
def test_a_larger_budget_goes_on_with_the_agents_of_the_other_process(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            pattern = both(runtime, tmp_path, 3, 2)
            stopped = await runtime.run(pattern, "spend", run_id="r", budget=Budget(max_calls=2))
            assert stopped.stopped == "budget" and len(really_spent(tmp_path)) <= 2
            done = await runtime.run(pattern, "spend", run_id="r", budget=Budget(max_calls=100))
            assert done.success, done
            account = await runtime.store.runs.account("r")
            spent = really_spent(tmp_path)
            assert (account.spent.calls, account.spent.cost_pico) == (len(spent), sum(spent))
            assert len(spent) == 2 * 3 * CALLS, "nothing that was finished was paid again"

    with far_node(tmp_path, 3, 2):
        run(main)


@pytest.mark.spec("O31")
def test_a_budget_holds_when_the_other_process_is_killed(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main(process: subprocess.Popen[str]) -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db"), config=SHORT) as runtime:
            panel = both(runtime, tmp_path, 15, 3, here=5)  # the first calls of all fit the budget
            handle = runtime.run(panel, "spend", run_id="r", budget=Budget(max_cost=LIMIT_PICO * 1e-12))
            result = await handle
            assert process.wait(20) == -signal.SIGKILL
            assert sum(each.agent_name.startswith("far") for each in result.successful) <= 1, "that made both calls"
            account = await runtime.store.runs.account("r")
            assert account.used.cost_pico <= LIMIT_PICO and account.used.cost_pico >= sum(really_spent(tmp_path))

    with far_node(tmp_path, 15, 3, kill_at=2) as process:
        run(lambda: main(process))
