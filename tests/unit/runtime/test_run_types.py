"""What type checkers know of a run: its result is that of its pattern or agent. ``mypy tests`` proves it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, assert_type

import pytest

from shoal import Agent, AgentRuntime
from shoal.llm import ChatResult, ToolCall, scripted
from shoal.orchestration import Pipeline, PipelineResult, RunHandle


@dataclass
class City:
    name: str


async def shout(message: str) -> str:
    return message.upper()


def test_a_run_has_the_result_of_its_pattern_or_agent() -> None:
    async def main() -> None:
        async with AgentRuntime(store="sqlite://:memory:") as runtime:
            handle = runtime.run(Pipeline([shout]), "bees")
            assert_type(handle, RunHandle[PipelineResult])
            assert isinstance(handle, RunHandle)
            result = await handle
            assert_type(result, PipelineResult)
            assert result.content == "BEES"
            form = ToolCall(call_id="1", name="final_output", arguments='{"name": "Rome"}')
            found = await runtime.run(Agent(model=scripted([form]), output_type=City), "which city?")
            assert_type(found, ChatResult[City])
            assert found.output == City("Rome")
            said = await runtime.run(shout, "wasps")
            assert_type(said, Any)
            assert said.content == "WASPS"

    asyncio.run(main())


def test_what_cannot_be_run_is_called_by_its_place() -> None:
    async def main() -> None:
        async with AgentRuntime(store="sqlite://:memory:") as runtime:
            with pytest.raises(TypeError, match=r"^what is to run \(str\) has no async chat\(message\)") as caught:
                runtime.run("bees", "x")
            assert caught.value.__notes__ == ["as_agent(obj, name=…, call=…) makes an agent of it."]

    asyncio.run(main())
