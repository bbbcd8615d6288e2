"""openai-agents, its traces switched off, and the SDK of OpenAI on which it stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, OpenAIChatCompletionsModel, Runner, Usage, set_tracing_disabled
from openai import AsyncOpenAI
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from benchmarks import turns
from benchmarks.common import run
from benchmarks.llm_serving import served
from benchmarks.turns import ANSWER, QUESTION, ROLE, Turn


class Fake(Model):
    """Says the same at once."""

    async def get_response(self, *given: Any, **options: Any) -> ModelResponse:
        """Answer."""
        text = ResponseOutputText(text=ANSWER, type="output_text", annotations=[])
        said = ResponseOutputMessage(id="1", role="assistant", type="message", status="completed", content=[text])
        used = Usage(requests=1, input_tokens=20, output_tokens=2, total_tokens=22)
        return ModelResponse(output=[said], usage=used, response_id=None)

    def stream_response(self, *given: Any, **options: Any) -> AsyncIterator[Any]:
        """Not used here."""
        raise NotImplementedError


def _turn(model: Model) -> Turn:
    set_tracing_disabled(True)
    agent = Agent(name="Assistant", instructions=ROLE, model=model)
    return lambda: Runner.run(agent, QUESTION)


def turn(count: int) -> dict[str, float]:
    """Return what a turn takes over the raw call of the model."""
    model = Fake()
    return run(turns.over(_turn(model), model.get_response, count))


def many(count: int, at_once: int) -> dict[str, float]:
    """Return turns a second."""
    turns.one_core()
    return run(turns.many(_turn(Fake()), count, at_once))


def http(count: int) -> dict[str, float]:
    """Return what a turn over HTTP takes."""
    with served() as url:
        client = AsyncOpenAI(base_url=url, api_key="none")
        return run(turns.alone(_turn(OpenAIChatCompletionsModel("gpt", client)), count))


def sdk(count: int) -> dict[str, float]:
    """Return what the same request takes with the SDK alone."""
    with served() as url:
        client = AsyncOpenAI(base_url=url, api_key="none")
        messages: Any = [{"role": "system", "content": ROLE}, {"role": "user", "content": QUESTION}]
        return run(turns.alone(lambda: client.chat.completions.create(model="gpt", messages=messages), count))


def memory() -> dict[str, float]:
    """Return the memory of a process that has had one turn."""

    async def main() -> dict[str, float]:
        await _turn(Fake())()
        return turns.process_mb()

    return run(main())
