"""Attempts of a model call: waits, fallbacks, prices, budgets; each is a step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from shoal import Agent, Budget, Usage
from shoal.errors import (
    BudgetExceededError,
    ModelAuthError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnpricedModelError,
)
from shoal.kernel.liverun import LiveRun
from shoal.kernel.scope import Stopped
from shoal.kernel.starting import live_in_memory
from shoal.llm import echo, scripted
from shoal.llm.model import ModelDelta, ModelReply, ModelRequest
from shoal.testing.clock import VirtualClock
from tests.support.speakers import virtual
from tests.unit.llm.agents import keeping

Run = Callable[..., Any]


def failing(*errors: Any, then: str = "ok", **options: Any) -> tuple[Any, list[ModelRequest]]:
    """Return a model that fails with *errors* in turn, attempt by attempt, and then answers."""
    seen: list[ModelRequest] = []

    def say(request: ModelRequest) -> Any:
        seen.append(request)
        return errors[len(seen) - 1] if len(seen) <= len(errors) else then

    return scripted({"": say}, **options), seen


@pytest.mark.spec("O42")
def test_a_rate_limit_is_waited_for_as_long_as_it_says() -> None:
    async def main(clock: VirtualClock) -> None:
        model, seen = failing(ModelRateLimitError("slow down", retry_after=7))
        result = await Agent(model=model).chat("hi")
        assert (result.content, clock.monotonic()) == ("ok", 7.0)
        assert [(attempt.error_type, attempt.wait_seconds) for attempt in result.attempts] == [
            ("ModelRateLimitError", 7), ("", None),
        ]  # fmt: skip
        assert [request.attempt for request in seen] == [1, 2]
        assert len({request.key for request in seen}) == 1, "one idempotency key for all attempts"

    virtual(main)


@pytest.mark.spec("O42")
def test_a_refused_key_is_not_tried_again() -> None:
    async def main(clock: VirtualClock) -> None:
        model, seen = failing(ModelAuthError("wrong key"))
        with pytest.raises(ModelAuthError):
            await Agent(model=model).chat("hi")
        assert (len(seen), clock.monotonic()) == (1, 0.0)

    virtual(main)


@pytest.mark.spec("O42")
def test_after_three_failures_the_fallback_answers_and_all_attempts_are_on_record() -> None:
    async def main(clock: VirtualClock) -> None:
        model, seen = failing(*[ModelUnavailableError("500")] * 3)
        live = live_in_memory("test")
        with live.root.entered():
            result = await Agent(model=model, fallback=[scripted(["from the other"], cost=0.5)]).chat("hi")
        assert (result.content, len(seen), result.cost) == ("from the other", 3, 0.5)
        assert [attempt.error_type for attempt in result.attempts] == ["ModelUnavailableError"] * 3 + [""]
        steps = list(live.recorded.values())
        assert [step.key for step in steps] == ["model1", "model1.2", "model1.3", "model1.4"]
        assert [step.error is None for step in steps] == [False, False, False, True]
        assert (result.usage.calls, result.step) == (4, "model1.4")
        assert 0.25 <= clock.monotonic() - 0.5 <= 1.5, "0.5 s, doubled, less up to a half"

    virtual(main)


def test_a_rate_limit_holds_back_the_agent_s_other_calls() -> None:
    async def main(clock: VirtualClock) -> None:
        model, seen = failing(ModelRateLimitError("slow down", retry_after=5))
        agent = Agent(model=model)
        first = asyncio.ensure_future(agent.chat("one", thread_id="1"))
        await clock.sleep(1)
        await agent.chat("two", thread_id="2")
        assert clock.monotonic() == 5.0
        await first
        assert len(seen) == 3

    virtual(main)


@pytest.mark.spec("O42")
def test_in_a_runtime_it_holds_back_all_calls_to_that_provider_and_key() -> None:
    async def main(clock: VirtualClock) -> None:
        model, _ = failing(ModelRateLimitError("slow down", retry_after=5))
        other, _ = failing()
        other.name = "another"
        first = asyncio.ensure_future(Agent(name="Ann", model=model).chat("one"))
        await clock.sleep(1)
        await Agent(name="Cid", model=other).chat("elsewhere")
        assert clock.monotonic() == 1.0
        await Agent(name="Bob", model=model).chat("two")
        assert clock.monotonic() == 5.0
        await first

    virtual(main)


class Deaf:
    """A model that never answers and knows no time-out."""

    name = "deaf"

    async def request(self, request: ModelRequest) -> ModelReply:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        yield await self.request(request)

    def price(self, usage: Usage) -> int | None:
        return 1000 * (usage.input_tokens + usage.output_tokens)


def test_each_attempt_is_bounded_and_its_reservation_lost() -> None:
    async def main(clock: VirtualClock) -> None:
        live = live_in_memory("test", budget=Budget(max_cost=1.0))
        with live.root.entered(), pytest.raises(ModelTimeoutError, match=r"deaf: no answer within 3 s"):
            await Agent(model=Deaf(), timeout=3, retries=1, max_tokens=500).chat("hi")
        assert 6.25 <= clock.monotonic() <= 6.5
        assert live.usage.lost_calls == 2
        assert live.usage.lost_pico > 2 * 500 * 1000
        assert live.usage.cost_pico == 0
        assert (await live.writer.account(live.run_id)).lost.cost_pico == live.usage.lost_pico

    virtual(main)


class Unpriced(Deaf):
    name = "nobody:knows"

    async def request(self, request: ModelRequest) -> ModelReply:
        return ModelReply(text="ok", usage=Usage(calls=1, input_tokens=10, output_tokens=1))

    def price(self, usage: Usage) -> int | None:
        return None


@pytest.mark.spec("O33")
def test_an_unpriced_model_is_refused_under_a_limit_in_usd(run: Run) -> None:
    async def main() -> None:
        live = _limited(max_cost=1.0)
        with live.root.entered(), pytest.raises(UnpricedModelError, match=r"nobody:knows.*price=\(in, out\)"):
            await Agent(model=Unpriced()).chat("hi")
        assert live.usage == Usage()
        allowed = live_in_memory("test", budget=Budget(max_cost=1.0, unpriced="allow"))
        with allowed.root.entered():
            assert (await Agent(model=Unpriced()).chat("hi")).usage.unpriced_calls == 1
        priced = _limited(max_cost=1.0)
        with priced.root.entered():
            result = await Agent(model=Unpriced(), price=(1.0, 2.0)).chat("hi")
        assert result.usage.cost_pico == 10 * 1_000_000 + 1 * 2_000_000
        assert (await Agent(model=Unpriced()).chat("without a budget")).usage.unpriced_calls == 1

    run(main)


@pytest.mark.spec("O33")
def test_a_server_of_one_s_own_is_not_charged_another_s_price() -> None:
    used = Usage(calls=1, input_tokens=1000, output_tokens=1000)
    own: dict[str, Any] = {"model": "gpt-4o-mini", "base_url": "http://127.0.0.1:1/v1"}
    (theirs,) = Agent(model="openai:gpt-4o-mini", api_key="k").calling.models
    (unknown,) = Agent(**own).calling.models
    (given,) = Agent(**own, price=(1.0, 2.0)).calling.models
    assert theirs.price(used)
    assert unknown.price(used) is None
    assert given.price(used) == 3_000_000_000


def _limited(**limits: Any) -> LiveRun:
    return live_in_memory("test", budget=Budget(**limits))


def test_output_is_lowered_to_what_the_budget_leaves_and_then_refused(run: Run) -> None:
    async def main() -> None:
        model, seen = keeping(*["ok"] * 3)
        agent = Agent(model=model, max_tokens=4096)
        live = _limited(max_tokens=1200)
        with live.root.entered():
            await agent.chat("x" * 100)
        assert 256 <= (seen[0].max_tokens or 0) < 1200
        tight = _limited(max_tokens=300)
        with tight.root.entered(), pytest.raises(BudgetExceededError) as caught:
            await agent.chat("x" * 100)
        assert caught.value.limit == "max_tokens"
        assert len(seen) == 1

    run(main)


@pytest.mark.parametrize("text", ["x" * 1000, "日本語" * 300])
def test_the_reserved_input_is_an_upper_bound_with_schemas(text: str, run: Run) -> None:
    async def main() -> None:
        def tool_with_a_long_schema(question: str) -> str:
            """Answers a question that is put to it at some length."""
            return question

        needs: list[Any] = []
        live = _limited(max_cost=10.0)
        reserve = live.writer.reserve

        def noting(hold: Any, account: str, key: str, need: Any, **more: Any) -> Any:
            needs.append(need)
            return reserve(hold, account, key, need, **more)

        live.writer.reserve = noting  # type: ignore[method-assign, assignment]
        model, seen = keeping("ok", cost=0.1)
        with live.root.entered():
            await Agent(model=model, tools=[tool_with_a_long_schema]).chat(text)
        (need,), (request,) = needs, seen
        schemas = len(msgspec.json.encode(request.tools))
        least = (len(request.system.encode()) + len(text.encode()) + schemas) // 2 + 8
        assert least <= need.input_tokens <= least + 20
        assert need.input_pico == 100_000_000_000

    run(main)


def test_the_cheap_model_is_used_when_the_budget_says_so(run: Run) -> None:
    async def main() -> None:
        agent = Agent(model=scripted(["dear"] * 5, cost=1.0), cheap_model=scripted(["cheap"] * 5, cost=0.01))
        live = _limited(max_cost=10.0, cheap_at=0.2)
        with live.root.entered():
            said = [(await agent.chat(f"{number}")).content for number in range(4)]
        assert said == ["dear", "dear", "cheap", "cheap"]
        assert live.usage.cost == pytest.approx(2.02)

    run(main)


def test_a_reply_without_usage_keeps_its_reservation_as_lost(run: Run) -> None:
    class Silent(Unpriced):
        async def request(self, request: ModelRequest) -> ModelReply:
            return ModelReply(text="ok", usage=None)

        def price(self, usage: Usage) -> int | None:
            return 10 * usage.output_tokens

    async def main() -> None:
        live = _limited(max_cost=1.0)
        with live.root.entered():
            result = await Agent(model=Silent(), max_tokens=1000).chat("hi")
        assert result.content == "ok"
        assert (result.usage.calls, result.usage.lost_calls, result.usage.cost_pico) == (1, 1, 0)
        assert result.usage.lost_pico == 10_000

    run(main)


def test_calls_are_counted_and_stop_at_their_limit(run: Run) -> None:
    async def main() -> None:
        agent = Agent(model=echo())
        live = _limited(max_calls=2)
        with live.root.entered():
            await agent.chat("1")
            await agent.chat("2")
            with pytest.raises(BudgetExceededError):
                await agent.chat("3")
            with pytest.raises(Stopped):
                await agent.chat("4")
        assert live.usage.calls == 2

    run(main)
