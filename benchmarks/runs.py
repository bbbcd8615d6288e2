"""Runs: agents at once and the end of them, replay and what is on disk, news."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.common import folder, percentile, run
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.models import Fake, Turns, agent
from benchmarks.turns import ANSWER, QUESTION

if TYPE_CHECKING:
    from shoal.llm import ModelDelta, ModelReply, ModelRequest
    from shoal.runtime import AgentRuntime

_WORDS = 20
_WORD_SECONDS = 0.005


class Slow(Fake):
    """A model that says word by word at its own pace, as a provider does, and notes when it says the first."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[float] = []

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in pieces."""
        loop = asyncio.get_running_loop()
        words: asyncio.Queue[int] = asyncio.Queue()

        def speak() -> None:
            begun = time.monotonic()
            for number in range(_WORDS):
                time.sleep(max(0.0, begun + (number + 1) * _WORD_SECONDS - time.monotonic()))
                loop.call_soon_threadsafe(words.put_nowait, number)

        speaking = loop.run_in_executor(None, speak)
        for _ in range(_WORDS):
            if await words.get() == 0:
                self.begun.append(time.perf_counter())
            yield self._delta
        await speaking
        yield self._reply


class Waiting(Fake):
    """A model that answers after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        await asyncio.sleep(self._seconds)
        return await super().request(request)

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in one piece."""
        await asyncio.sleep(self._seconds)
        yield self._delta
        yield self._reply


@asynccontextmanager
async def runtime_on_disk() -> AsyncIterator[AgentRuntime]:
    """Give a runtime on a file, removed afterwards."""
    from benchmarks.ours import runtime

    with folder() as path:
        async with runtime(path) as here:
            yield here


# -- agents at once


def parallel(count: int, agents: int) -> dict[str, float]:
    """Return the milliseconds of agents at once that take 50 ms each, and of cancelling as many that take a minute."""
    return run(_parallel(count, agents))


async def _parallel(count: int, agents: int) -> dict[str, float]:
    from shoal.orchestration import ParallelAgents

    quick = ParallelAgents(_team(0.05, agents))
    long = ParallelAgents(_team(60, agents))
    whole, cancelled = [], []
    for _ in range(count + 1):
        begun = time.perf_counter()
        result = await quick.run(QUESTION)
        whole.append((time.perf_counter() - begun) * 1e3)
        assert result.all_success
        handle = long.start(QUESTION)
        await asyncio.sleep(0.1)
        begun = time.perf_counter()
        await handle.cancel()
        cancelled.append((time.perf_counter() - begun) * 1e3)
    return {
        "all_p50_ms": percentile(whole[1:], 0.5), "all_p99_ms": percentile(whole[1:], 0.99),
        "cancel_p50_ms": percentile(cancelled[1:], 0.5), "cancel_p99_ms": percentile(cancelled[1:], 0.99),
    }  # fmt: skip


def _team(seconds: float, agents: int) -> list[Any]:
    return [agent(Waiting(seconds)).fork(name=f"agent-{number}") for number in range(agents)]


def gathered(count: int, agents: int) -> dict[str, float]:
    """Return the milliseconds of as many calls of the model alone, by ``asyncio.gather``."""

    async def main() -> dict[str, float]:
        from shoal.llm import ModelRequest

        model, asked = Waiting(0.05), ModelRequest()
        whole = []
        for _ in range(count + 1):
            begun = time.perf_counter()
            await asyncio.gather(*(model.request(asked) for _ in range(agents)))
            whole.append((time.perf_counter() - begun) * 1e3)
        return {"all_p50_ms": percentile(whole[1:], 0.5), "all_p99_ms": percentile(whole[1:], 0.99)}

    return run(main())


# -- replay


class Cut(Turns):
    """Turns that do not come to an end: what is recorded of them is there for another life of the run."""

    async def carry_out(self, scope: Any, input: Any, *, user_id: str, context: str) -> Any:
        """Ask, then wait for ever."""
        await super().carry_out(scope, input, user_id=user_id, context=context)
        await asyncio.Event().wait()


def journal(count: int, state_bytes: int) -> dict[str, float]:
    """Return what a replay of recorded turns takes and calls, and how many bytes are on disk for each beyond its answer."""
    return run(_journal(count, state_bytes))


async def _journal(count: int, state_bytes: int) -> dict[str, float]:
    from benchmarks.ours import runtime

    question = QUESTION + "x" * state_bytes
    replays = []
    with folder() as path:
        async with runtime(path):
            pass
        file = path / "shoal.db"
        before = file.stat().st_size
        async with runtime(path) as here:
            handle = here.run(Cut(Fake(), count + 1, question), "", run_id="r")
            while handle.usage.calls <= count:  # noqa: ASYNC110 - a run tells nobody of its usage
                await asyncio.sleep(0.01)
            await handle.cancel()
        stored = (file.stat().st_size - before) / (count + 1)
        model = Fake()
        for _ in range(5):
            async with runtime(path) as here:
                run_id = await here.runs.fork("r", f"{count}/model1")
                begun = time.perf_counter()
                await here.run(Turns(model, count, question), "", run_id=run_id)
                replays.append((time.perf_counter() - begun) * 1e3)
        return {"replay_ms": percentile(replays, 0.5), "calls": model.calls, "step_bytes": stored - len(ANSWER)}


# -- news


def news(count: int) -> dict[str, float]:
    """Return the milliseconds from a model's first word to the first news of it, with one reader."""
    return run(_news(count))


async def _news(count: int) -> dict[str, float]:
    model = Slow()
    heard: list[float] = []
    async with runtime_on_disk() as here:
        handle = here.run(Turns(model, count), "")
        steps = set()
        async for event in handle.events():
            if event.type == "text" and event.path not in steps:
                steps.add(event.path)
                heard.append(time.perf_counter())
        await handle
    seconds = [(after - before) * 1e3 for before, after in zip(model.begun, heard, strict=True)]
    return {"first_p50_ms": percentile(seconds, 0.5), "first_p99_ms": percentile(seconds, 0.99)}


def readers(count: int, readers: int) -> dict[str, float]:
    """Return by how many percent a run is slower when it is read by many, turns with and without by turns."""
    return run(_readers(count, readers))


async def _readers(count: int, readers: int) -> dict[str, float]:
    async with runtime_on_disk() as here:
        await _read(here, 2, 2)
        rounds = [(await _read(here, count, 0), await _read(here, count, readers)) for _ in range(4)]
        alone, read = (percentile([each[side] for each in rounds], 0.5) for side in (0, 1))
        return {"slower_percent": (read / alone - 1) * 100}


async def _read(here: AgentRuntime, count: int, readers: int) -> float:
    async def read() -> int:
        return len([event async for event in handle.events()])

    begun = time.perf_counter()
    handle = here.run(Turns(Slow(), count), "")
    reading = [asyncio.create_task(read()) for _ in range(readers)]
    await handle
    seconds = time.perf_counter() - begun
    told = await asyncio.gather(*reading)
    assert len(set(told)) <= 1, f"readers of one run have read {set(told)} events"
    return seconds


_STATE = "shoal, 100 KiB of state"

MEASUREMENTS = (
    Measurement(
        name="runs-parallel",
        what="100 agents at once of 50 ms each; cancelling 100 that are under way",
        figures={
            "all_p50_ms": "p50 ms", "all_p99_ms": "p99 ms",
            "cancel_p50_ms": "p50 ms to cancel", "cancel_p99_ms": "p99 ms to cancel",
        },
        entries=(
            Entry("shoal", "benchmarks.runs:parallel", {"count": 20, "agents": 100}),
            Entry("asyncio", "benchmarks.runs:gathered", {"count": 20, "agents": 100}, "the calls of the model alone"),
        ),
        bounds=(Bound("all_p50_ms", "goal", most=57.5), Bound("cancel_p50_ms", "goal", most=20)),
        quick={"count": 2},
    ),
    Measurement(
        name="runs-journal",
        what="replay of 1,000 recorded turns, each with its question; on disk for each turn, its answer not counted",
        figures={"replay_ms": "ms", "calls": "calls of the model", "step_bytes": "bytes a step"},
        entries=(
            Entry("shoal", "benchmarks.runs:journal", {"count": 1000, "state_bytes": 0}),
            Entry(_STATE, "benchmarks.runs:journal", {"count": 1000, "state_bytes": 102_400}, "in each question"),
            Entry("langgraph", "benchmarks.peers.langgraph_:journal", {"count": 1000, "state_bytes": 0}, "steps, SQLite"),
            Entry(
                "langgraph, 100 KiB of state",
                "benchmarks.peers.langgraph_:journal",
                {"count": 1000, "state_bytes": 102_400},
            ),
        ),
        bounds=(
            Bound("replay_ms", "goal", most=100),
            Bound("calls", "floor", most=0),
            Bound("step_bytes", "goal", most=1024),
            Bound("step_bytes", "goal", most=1024, of=_STATE),
            Bound("step_bytes", "floor", most=1, against="langgraph"),
        ),
        quick={"count": 50},
        runs=2,
    ),
    Measurement(
        name="runs-news",
        what="from a model's first word to the news of it; 100 readers of a run whose model says a word each 5 ms",
        figures={
            "first_p50_ms": "p50 ms", "first_p99_ms": "p99 ms", "slower_percent": "% slower with 100 readers",
        },
        entries=(
            Entry("shoal", "benchmarks.runs:news", {"count": 50}),
            Entry("shoal, 100 readers", "benchmarks.runs:readers", {"count": 10, "readers": 100}),
        ),
        bounds=(
            Bound("first_p50_ms", "goal", most=2),
            Bound("slower_percent", "goal", most=10, of="shoal, 100 readers"),
        ),
        quick={"count": 4},
    ),
)  # fmt: skip
