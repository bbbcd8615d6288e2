"""A turn of a model: over the raw call of it, journaled, under a budget, many at once, and over HTTP."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from benchmarks import turns
from benchmarks.common import folder, run, spread
from benchmarks.llm_serving import served
from benchmarks.measurement import Bound, Entry, Measurement
from benchmarks.turns import ANSWER, QUESTION, ROLE

if TYPE_CHECKING:
    from shoal.llm import Agent, Model, ModelDelta, ModelReply, ModelRequest
    from shoal.orchestration import Budget, Usage

TURN = {"count": 2000}
PEER_TURN = {"count": 400}
MANY = {"count": 10_000, "at_once": 100}
PEER_MANY = {"count": 1000, "at_once": 100}


class Fake:
    """A model that says the same at once and costs a little."""

    name = "fake"

    def __init__(self) -> None:
        from shoal.llm import ModelDelta, ModelReply
        from shoal.orchestration import Usage

        self._delta = ModelDelta(text=ANSWER)
        self._reply = ModelReply(text=ANSWER, usage=Usage(calls=1, input_tokens=20, output_tokens=2), model="fake")
        self.calls = 0

    async def request(self, request: ModelRequest) -> ModelReply:
        """Answer in whole."""
        self.calls += 1
        return self._reply

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        """Answer in one piece."""
        self.calls += 1
        yield self._delta
        yield self._reply

    def price(self, usage: Usage) -> int:
        """A microdollar a token."""
        return 1_000_000 * (usage.input_tokens + usage.output_tokens)


def agent(model: Model) -> Agent[Any]:
    """Return an agent of Shoal with *model*."""
    from shoal.llm import Agent

    return Agent(role=ROLE, model=model)


class Turns:
    """A run of turns one after the other, each in a conversation of its own."""

    name = "Turns"

    def __init__(self, model: Model, count: int, question: str = QUESTION) -> None:
        self._agent = agent(model)
        self._count = count
        self._question = question
        self.seconds: list[float] = []

    async def carry_out(self, scope: Any, input: Any, *, user_id: str, context: str) -> Any:
        """Ask again and again."""
        for number in range(self._count):
            begun = time.perf_counter()
            with scope.child(f"{number}").entered():
                await self._agent.chat(self._question, thread_id=f"{number}")
            self.seconds.append(time.perf_counter() - begun)
        return {}

    def decode_result(self, data: Any) -> Any:
        """Return it."""
        return data


def turn(count: int) -> dict[str, float]:
    """Return what a turn outside of any run takes over the raw call of the model."""

    async def main() -> dict[str, float]:
        from shoal.llm import ChatMessage, ModelRequest

        model, threads = Fake(), itertools.count()
        asked = ModelRequest(system=ROLE, messages=(ChatMessage(role="user", content=QUESTION),))
        talker = agent(model)
        return await turns.over(
            lambda: talker.chat(QUESTION, thread_id=f"{next(threads)}"), lambda: model.request(asked), count
        )

    return run(main())


def journaled(count: int, budget: bool = False) -> dict[str, float]:
    """Return what a turn of a run takes over the raw call of the model, each on disk before the next."""

    async def main() -> dict[str, float]:
        from benchmarks.ours import runtime
        from shoal.llm import ModelRequest

        model = Fake()
        asked = ModelRequest(system=ROLE)
        base = (await turns.alone(lambda: model.request(asked), 1000))["p50_ms"]
        with folder() as path:
            async with runtime(path) as here:
                talk = Turns(model, count + count // 10)
                await here.run(talk, "", budget=_budget() if budget else None)
        figures = spread(talk.seconds[count // 10 :])
        return {name: each - base for name, each in figures.items()}

    return run(main())


def _budget() -> Budget:
    from shoal.orchestration import Budget

    return Budget(max_cost=1e6, max_calls=10**9)


def many(count: int, at_once: int) -> dict[str, float]:
    """Return turns a second outside of any run."""

    async def main() -> dict[str, float]:
        turns.one_core()
        talker, threads = agent(Fake()), itertools.count()
        return await turns.many(lambda: talker.chat(QUESTION, thread_id=f"{next(threads)}"), count, at_once)

    return run(main())


def many_journaled(count: int, at_once: int, budget: bool = False) -> dict[str, float]:
    """Return turns a second of runs at once, each turn on disk before the next of its run."""

    async def main() -> dict[str, float]:
        import asyncio

        from benchmarks.ours import runtime

        turns.one_core()
        model, given = Fake(), _budget() if budget else None
        with folder() as path:
            async with runtime(path) as here:
                await asyncio.gather(*(here.run(Turns(model, 1), "", budget=given) for _ in range(at_once)))
                begun = time.perf_counter()
                await asyncio.gather(
                    *(here.run(Turns(model, count // at_once), "", budget=given) for _ in range(at_once))
                )
                return {"per_s": count / (time.perf_counter() - begun)}

    return run(main())


def many_runs(count: int, at_once: int) -> dict[str, float]:
    """Return runs of one turn a second: begun, done and ended on disk."""

    async def main() -> dict[str, float]:
        from benchmarks.ours import runtime

        turns.one_core()
        talker = agent(Fake())
        with folder() as path:
            async with runtime(path) as here:
                return await turns.many(lambda: here.run(talker, QUESTION), count, at_once)

    return run(main())


def http(count: int) -> dict[str, float]:
    """Return what a turn over HTTP takes."""
    from shoal.llm import Agent

    with served() as url:
        talker, threads = Agent(role=ROLE, model="gpt", base_url=url, api_key="none"), itertools.count()
        return run(turns.alone(lambda: talker.chat(QUESTION, thread_id=f"{next(threads)}"), count))


def _peers(function: str, arguments: dict[str, int]) -> tuple[Entry, ...]:
    pydantic, graph = f"benchmarks.peers.pydantic_ai_:{function}", f"benchmarks.peers.langgraph_:{function}"
    return (
        Entry("pydantic-ai direct", pydantic, {**arguments, "how": "direct"}, "its model layer alone"),
        Entry("pydantic-ai Agent.run", pydantic, {**arguments, "how": "run"}),
        Entry("langgraph create_agent", graph, arguments),
        Entry("openai-agents", f"benchmarks.peers.openai_agents_:{function}", arguments, "traces off"),
    )


_JOURNALED, _BUDGET, _SAVED = "shoal, journaled", "shoal, with a budget", "langgraph create_agent, SQLite"
_SDK = "openai SDK"

MEASUREMENTS = (
    Measurement(
        name="models",
        what="a turn of a model that answers at once, over the raw call of it; journaled: on disk before the next",
        figures={"p50_ms": "p50 ms", "p99_ms": "p99 ms"},
        entries=(
            Entry("shoal", "benchmarks.models:turn", TURN),
            Entry(_JOURNALED, "benchmarks.models:journaled", TURN),
            Entry(_BUDGET, "benchmarks.models:journaled", {**TURN, "budget": True}, "journaled"),
            *_peers("turn", PEER_TURN),
            Entry(_SAVED, "benchmarks.peers.langgraph_:turn", {**PEER_TURN, "saved": True}, 'durability="sync"'),
        ),
        bounds=(
            Bound("p50_ms", "goal", most=0.3),
            Bound("p50_ms", "goal", most=1, of=_JOURNALED),
            Bound("p50_ms", "goal", most=1.5, of=_BUDGET),
            Bound("p50_ms", "floor", most=1, against="pydantic-ai Agent.run"),
            Bound("p50_ms", "floor", most=1, against=_SAVED, of=_BUDGET),
        ),
        quick={"count": 60},
    ),
    Measurement(
        name="models-many",
        what="turns a second on one core, 100 at once, no HTTP",
        figures={"per_s": "turns/s"},
        entries=(
            Entry("shoal", "benchmarks.models:many", MANY),
            Entry(_JOURNALED, "benchmarks.models:many_journaled", MANY, "100 runs"),
            Entry(_BUDGET, "benchmarks.models:many_journaled", {**MANY, "budget": True}, "journaled, 100 runs"),
            Entry(
                "shoal, a run each", "benchmarks.models:many_runs", {**MANY, "count": 3000}, "begun and ended on disk"
            ),
            *_peers("many", PEER_MANY),
            Entry(_SAVED, "benchmarks.peers.langgraph_:many", {**PEER_MANY, "saved": True}, 'durability="sync"'),
        ),
        bounds=(
            Bound("per_s", "goal", least=3000),
            Bound("per_s", "goal", least=1500, of=_JOURNALED),
            Bound("per_s", "floor", least=1, against="pydantic-ai Agent.run"),
            Bound("per_s", "floor", least=1, against=_SAVED, of=_JOURNALED),
        ),
        quick={"count": 200},
    ),
    Measurement(
        name="models-http",
        what="a turn over HTTP, one at a time; one server on loopback for all",
        figures={"p50_ms": "p50 ms", "p99_ms": "p99 ms"},
        entries=(
            Entry("shoal", "benchmarks.models:http", PEER_TURN),
            Entry(_SDK, "benchmarks.peers.openai_agents_:sdk", PEER_TURN, "the request alone"),
            *_peers("http", PEER_TURN),
        ),
        bounds=(
            Bound("p50_ms", "goal", most=1, plus=2, against=_SDK),
            *(
                Bound("p50_ms", "floor", most=1, against=peer)
                for peer in ("pydantic-ai Agent.run", "langgraph create_agent", "openai-agents")
            ),
        ),
        quick={"count": 30},
    ),
)
