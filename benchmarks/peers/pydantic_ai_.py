"""pydantic-ai: its agent, and ``direct``, which is its model layer alone."""

from __future__ import annotations

import time

from pydantic_ai import Agent
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings
from pydantic_ai.usage import RequestUsage

from benchmarks import turns
from benchmarks.common import percentile, run
from benchmarks.llm_serving import served
from benchmarks.turns import ANSWER, QUESTION, ROLE, Turn


class Fake(Model):
    """Says the same at once."""

    @property
    def model_name(self) -> str:
        """Its name."""
        return "fake"

    @property
    def system(self) -> str:
        """Its provider."""
        return "fake"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Answer."""
        used = RequestUsage(input_tokens=20, output_tokens=2)
        return ModelResponse(parts=[TextPart(ANSWER)], usage=used, model_name="fake")


def _turn(model: Model, how: str) -> Turn:
    if how == "direct":
        return lambda: model_request(model, [ModelRequest.user_text_prompt(QUESTION, instructions=ROLE)])
    agent = Agent(model, instructions=ROLE)
    return lambda: agent.run(QUESTION)


def turn(how: str, count: int) -> dict[str, float]:
    """Return what a turn takes over the raw call of the model."""

    async def main() -> dict[str, float]:
        model = Fake()
        asked: list[ModelMessage] = [ModelRequest.user_text_prompt(QUESTION, instructions=ROLE)]
        plain = ModelRequestParameters()
        return await turns.over(_turn(model, how), lambda: model.request(asked, None, plain), count)

    return run(main())


def many(how: str, count: int, at_once: int) -> dict[str, float]:
    """Return turns a second."""
    turns.one_core()
    return run(turns.many(_turn(Fake(), how), count, at_once))


def http(how: str, count: int) -> dict[str, float]:
    """Return what a turn over HTTP takes."""
    with served() as url:
        model = OpenAIChatModel("gpt", provider=OpenAIProvider(base_url=url, api_key="none"))
        return run(turns.alone(_turn(model, how), count))


def memory() -> dict[str, float]:
    """Return the memory of a process that has had one turn."""

    async def main() -> dict[str, float]:
        await _turn(Fake(), "run")()
        return turns.process_mb()

    return run(main())


def row(count: int, calls: int) -> dict[str, float]:
    """Return the milliseconds of as many agents, called in a row, each with what the one before said."""

    async def main() -> dict[str, float]:
        agents = [Agent(Fake(), name=f"agent-{number}", instructions=ROLE) for number in range(calls)]
        taken = []
        for _ in range(count + 1):
            begun = time.perf_counter()
            said = QUESTION
            for agent in agents:
                said = (await agent.run(said)).output
            taken.append((time.perf_counter() - begun) * 1e3)
        return {"whole_p50_ms": percentile(taken[1:], 0.5), "calls": calls}

    return run(main())
