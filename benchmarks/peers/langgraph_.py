"""LangGraph: ``create_agent``, in memory and with its SQLite saver, and a graph of many steps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, TypedDict

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

from benchmarks import turns
from benchmarks.common import folder, run
from benchmarks.llm_serving import served
from benchmarks.turns import ANSWER, QUESTION, ROLE, Turn


class Fake(BaseChatModel):
    """Says the same at once."""

    @property
    def _llm_type(self) -> str:
        return "fake"

    def _generate(self, messages: list[BaseMessage], *given: Any, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(ANSWER))])

    async def _agenerate(self, messages: list[BaseMessage], *given: Any, **options: Any) -> ChatResult:
        return self._generate(messages)


def _turn(model: BaseChatModel, saver: AsyncSqliteSaver | None = None) -> Turn:
    agent = create_agent(model, system_prompt=ROLE, checkpointer=saver)
    threads = itertools.count()
    if saver is None:
        return lambda: agent.ainvoke({"messages": [HumanMessage(QUESTION)]})

    def kept() -> Any:
        config = {"configurable": {"thread_id": str(next(threads))}}
        return agent.ainvoke({"messages": [HumanMessage(QUESTION)]}, config, durability="sync")  # type: ignore[call-overload]

    return kept


def turn(count: int, saved: bool = False) -> dict[str, float]:
    """Return what a turn takes over the raw call of the model; *saved*: into SQLite, before it goes on."""

    async def main() -> dict[str, float]:
        model, asked = Fake(), [SystemMessage(ROLE), HumanMessage(QUESTION)]
        if not saved:
            return await turns.over(_turn(model), lambda: model._agenerate(asked), count)
        with folder() as path:
            async with AsyncSqliteSaver.from_conn_string(str(path / "saved.db")) as saver:
                return await turns.over(_turn(model, saver), lambda: model._agenerate(asked), count)

    return run(main())


def many(count: int, at_once: int, saved: bool = False) -> dict[str, float]:
    """Return turns a second."""

    async def main() -> dict[str, float]:
        turns.one_core()
        if not saved:
            return await turns.many(_turn(Fake()), count, at_once)
        with folder() as path:
            async with AsyncSqliteSaver.from_conn_string(str(path / "saved.db")) as saver:
                return await turns.many(_turn(Fake(), saver), count, at_once)

    return run(main())


def http(count: int) -> dict[str, float]:
    """Return what a turn over HTTP takes."""
    with served() as url:
        model = ChatOpenAI(model="gpt", base_url=url, api_key="none")  # type: ignore[arg-type]
        return run(turns.alone(_turn(model), count))


class _State(TypedDict):
    number: int
    text: str


def journal(count: int, state_bytes: int) -> dict[str, float]:
    """Return how many bytes are on disk for each step of a graph whose state holds a text that does not change."""
    return run(_journal(count, state_bytes))


async def _journal(count: int, state_bytes: int) -> dict[str, float]:
    def step(state: _State) -> dict[str, int]:
        return {"number": state["number"] + 1}

    graph = StateGraph(_State)
    graph.add_node("step", step)
    graph.add_edge(START, "step")
    graph.add_conditional_edges("step", lambda state: "step" if state["number"] < count else END)
    with folder() as path:
        async with AsyncSqliteSaver.from_conn_string(str(path / "saved.db")) as saver:
            config: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": count + 10}
            state: _State = {"number": 0, "text": "x" * state_bytes}
            await graph.compile(checkpointer=saver).ainvoke(state, config, durability="sync")
        return {"step_bytes": _size(path) / count}


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir())


def memory() -> dict[str, float]:
    """Return the memory of a process that has had one turn."""

    async def main() -> dict[str, float]:
        await _turn(Fake())()
        return turns.process_mb()

    return run(main())
