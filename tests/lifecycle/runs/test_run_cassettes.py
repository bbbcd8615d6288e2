"""A run that was journaled, as a cassette: it is repeated elsewhere without a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import Agent, AgentRuntime
from shoal.errors import CassetteMissError
from shoal.llm import recorded, scripted
from shoal.orchestration import ParallelAgents, Pipeline
from tests.support.backend import store_at


def composed(model: Any, role: str = "You write.") -> Any:
    first = ParallelAgents([Agent(name=name, role=role, model=model) for name in ("A", "B")])
    return Pipeline([first, Agent(name="C", role=role, model=model)], name="composed")


@pytest.mark.spec("O44")
def test_an_exported_run_replays_elsewhere_and_a_changed_prompt_misses(tmp_path: Path, run: Callable[..., Any]) -> None:
    cassette = tmp_path / "run.jsonl"

    async def main() -> None:
        script = scripted({"A": ["from A"], "B": ["from B"], "C": ["from C"]}, cost=0.25)
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            done = await runtime.run(composed(script), "the question", run_id="r")
            command = [
                sys.executable,
                "-c",
                "from shoal.cli import main; main()",
                "runs",
                "cassette",
                "r",
                str(cassette),
            ]
            told = subprocess.run(
                [*command, "--store", store_at(tmp_path / "runs.db")], capture_output=True, text=True, check=True
            )
            assert told.stdout == f"3 replies in {cassette}\n"
        tape = recorded(cassette, mode="replay")
        again = await composed(tape).run("the question")
        assert again.content == done.content and again.usage.cost_pico == done.usage.cost_pico == 3 * 25 * 10**10
        changed = Agent(name="A", role="You sing.", model=recorded(cassette, mode="replay"))
        with pytest.raises(CassetteMissError, match="its prompt is another one than in the run"):
            await changed.chat("the question")

    run(main)
    assert "the question" not in cassette.read_text()
