"""Memory of agents of models, conversations and runs."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from benchmarks.common import resident_kb, run
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.models import Fake, agent
from benchmarks.runs import runtime_on_disk
from benchmarks.turns import QUESTION, process_mb

if TYPE_CHECKING:
    from shoal.llm import ModelDelta, ModelReply, ModelRequest
    from shoal.runtime import AgentRuntime

_MIB = 1024 * 1024


class Long(Fake):
    """A model that says 1 KiB, each time another."""

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        from shoal.llm import ModelReply

        self.calls += 1
        return ModelReply(text=f"{self.calls:y>1024}", usage=self._reply.usage, model=self.name)


def memory(agents: int, messages: int, runs: int) -> dict[str, float]:
    """Return what an idle agent, a conversation and runs at once take."""
    return run(_memory(agents, messages, runs))


async def _memory(agents: int, messages: int, runs: int) -> dict[str, float]:
    await agent(Fake()).chat(QUESTION)  # what is made once is not theirs
    async with runtime_on_disk() as here:
        figures = {"runs_mb": await _runs_mb(here, runs)}
    model = Fake()
    first = agent(Long())
    tracemalloc.start()
    kept = [agent(model) for _ in range(agents)]
    figures["agent_kb"] = _traced() / agents / 1024
    del kept
    tracemalloc.clear_traces()
    for number in range(messages // 2):
        await first.chat(f"{number:x>1024}")
    figures["talk_mb"] = _traced() / _MIB
    return figures


def process() -> dict[str, float]:
    """Return the memory of a process that has had one turn of a run."""

    async def main() -> dict[str, float]:
        async with runtime_on_disk() as here:
            await here.run(agent(Fake()), QUESTION)
            return process_mb()

    return run(main())


def _traced() -> float:
    gc.collect()
    return float(tracemalloc.get_traced_memory()[0])


async def _runs_mb(here: AgentRuntime, runs: int) -> float:
    gate = asyncio.Event()
    waiting = 0
    all_wait = asyncio.Event()

    class Gated(Fake):
        async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
            nonlocal waiting
            waiting += 1
            if waiting == runs:
                all_wait.set()
            await gate.wait()
            yield self._reply

    talker = agent(Gated())
    gc.collect()
    before = resident_kb()
    handles = [here.run(talker, QUESTION) for _ in range(runs)]
    await all_wait.wait()
    grown = (resident_kb() - before) / 1024
    gate.set()
    await asyncio.gather(*handles)
    return grown


_PEERS = (
    Entry("pydantic-ai", "benchmarks.peers.pydantic_ai_:memory"),
    Entry("langgraph", "benchmarks.peers.langgraph_:memory", note="create_agent"),
    Entry("openai-agents", "benchmarks.peers.openai_agents_:memory"),
)

MEASUREMENTS = (
    Measurement(
        name="runs-memory",
        what="an idle agent; a conversation of 1,000 messages of 1 KiB; 1,000 runs at once",
        figures={
            "agent_kb": "KiB an agent, as tracemalloc counts", "talk_mb": "MiB the conversation, as tracemalloc counts",
            "runs_mb": "MiB the runs, resident over idle",
        },
        entries=(Entry("shoal", "benchmarks.run_memory:memory", {"agents": 1000, "messages": 1000, "runs": 1000}),),
        bounds=(
            Bound("agent_kb", "goal", most=3),
            Bound("talk_mb", "goal", most=2),
            Bound("runs_mb", "goal", most=64),
        ),
        quick={"agents": 100, "messages": 40, "runs": 50},
        runs=2,
    ),
    Measurement(
        name="runs-process",
        what="a process that has had one turn of a model, nothing else",
        figures={"process_mb": "MiB, resident"},
        entries=(Entry("shoal", "benchmarks.run_memory:process"), *_PEERS),
        bounds=tuple(Bound("process_mb", "floor", most=1, against=each.who) for each in _PEERS),
        runs=2,
    ),
)  # fmt: skip
