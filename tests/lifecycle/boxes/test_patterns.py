"""Boxes as members of patterns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.boxes import Box, BoxRuntime
from shoal.orchestration import Debate, ParallelAgents, Pipeline
from tests.support.backend import store_at
from tests.support.levels import chosen, need

pytestmark = pytest.mark.usefixtures("backend")

LEVELS = chosen("process", "bubblewrap", "gvisor", long=("microvm",))


@pytest.fixture
def level(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name != "process":
        need(name)
    return name


at_each_level = pytest.mark.parametrize("level", LEVELS, indirect=True)


def shout(sender: str, data: Any) -> str:
    shouted: str = data["message"].upper()
    return shouted


def count(sender: str, data: Any) -> dict[str, Any]:
    import os

    with open("asked", "a") as file:
        file.write("x")
    return {"content": f"{os.path.getsize('asked')}: {data['message']}", "cost": 0.25}


def refuse(sender: str, data: Any) -> None:
    raise ValueError("not this one")


def die(sender: str, data: Any) -> None:
    import os

    os._exit(7)


def vote(sender: str, data: Any) -> dict[str, Any]:
    first = "Optimist" not in data["message"] and "Realist" not in data["message"]
    return {
        "content": f"{'opening' if first else 'reply'}\nPOSITION: yes\nAGREES WITH: Optimist\nCONFIDENCE: 80",
        "cost": 0.5,
    }


@asynccontextmanager
async def boxes(level: str, **handlers: Callable[..., Any]) -> AsyncIterator[dict[str, Box]]:
    async with BoxRuntime(level, logs="none") as runtime:
        found = {}
        for name, handler in handlers.items():
            found[name] = await runtime.create_box(name)
            found[name].on_message(handler)
            await found[name].run()
        yield found


@pytest.mark.spec("B48")
@at_each_level
def test_boxes_in_a_panel_and_in_a_pipeline(level: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with boxes(level, Shouter=shout, Counter=count, Refuser=refuse, Mortal=die) as there:
            panel = ParallelAgents(list(there.values()), timeout=30)
            said = await panel.chat("hello")
            assert [result.agent_name for result in said.results] == ["Shouter", "Counter", "Refuser", "Mortal"]
            assert [result.content for result in said.successful] == ["HELLO", "1: hello"]
            assert "not this one" in (said.by_agent("Refuser").error or "")
            assert said.by_agent("Mortal").error and not said.all_success
            assert (said.total_cost, said.by_agent("Counter").cost) == (0.25, 0.25)

            async def plain(message: str) -> str:
                return f"<{message}>"

            line = Pipeline([there["Counter"], plain, there["Shouter"]], {2: lambda text: text * 2})
            done = await line.run("go")
            assert done.success and done.content == "<2: GO><2: GO>"
            assert done.total_cost == 0.25

    run(main)


@pytest.mark.spec("B48")
@at_each_level
def test_boxes_debate(level: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with boxes(level, Optimist=vote, Realist=vote, Judge=shout) as there:
            debate = Debate([there["Optimist"], there["Realist"]], there["Judge"], rounds=1)
            result = await debate.run("boxes?")
            assert result.success, result.error
            assert [(m.round, m.agent_name, m.content) for m in result.messages] == [
                (0, "Optimist", "opening"),
                (0, "Realist", "opening"),
                (1, "Optimist", "reply"),
                (1, "Realist", "reply"),
            ]
            assert result.consensus_reached and result.consensus is not None
            assert set(result.consensus.supporters) == {"Optimist", "Realist"}
            assert "BOXES?" in result.conclusion and result.total_cost == 2.0

    run(main)


@pytest.mark.spec("B48")
def test_a_run_in_a_store_asks_a_box_once(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with boxes("process", Counter=count) as there, AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            line = Pipeline([ParallelAgents([there["Counter"]], name="panel")], name="line")
            first = await runtime.run(line, "hello", run_id="r")
            assert first.success and first.content == "1. [Counter]: 1: hello"
            assert await runtime.run(line, "hello", run_id="r") == first
            again: Any = await there["Counter"].chat("again")
            assert again.content == "2: again"
            assert (await there["Counter"].exec("cat", "asked")).stdout.strip() in (b"xx", "xx")

    run(main)
