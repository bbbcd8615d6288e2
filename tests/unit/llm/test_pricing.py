"""What a call costs, and to whom it is charged."""

from __future__ import annotations

import random
import socket
from decimal import Decimal

import genai_prices
import pytest

from shoal.kernel.usage import PICO, Usage
from shoal.llm import Model, open_model, scripted
from shoal.llm.pricing import GivenPrice, ListedPrice, need_of

LOCAL = "http://127.0.0.1:9/v1"
MUCH = Usage(calls=1, input_tokens=1_000_000, output_tokens=1_000_000)


@pytest.fixture(autouse=True)
def no_base_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def price_of(usage: Usage, model: object, **options: object) -> int | None:
    made: Model = open_model(model, api_key="k", **options)  # type: ignore[arg-type]
    return made.price(usage)


@pytest.mark.spec("O33")
def test_a_server_of_ones_own_is_not_charged_the_price_of_the_model_whose_name_it_uses() -> None:
    assert price_of(MUCH, "openai:gpt-4o-mini") == 750_000_000_000  # 0.15 + 0.60 USD
    assert price_of(MUCH, "gpt-4o-mini", base_url=LOCAL) is None
    assert price_of(MUCH, "openai:gpt-4o-mini", base_url=LOCAL) is None
    assert price_of(MUCH, "gpt-4o-mini", base_url=LOCAL, price=(0.5, 2)) == 2_500_000_000_000


def test_a_server_that_the_environment_names_is_none_of_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", LOCAL)
    assert price_of(MUCH, "openai:gpt-4o-mini") is None


def test_a_provider_at_its_own_url_is_charged() -> None:
    assert price_of(MUCH, "gpt-4o-mini", base_url="https://api.openai.com/v1") == 750_000_000_000


def test_a_given_price_goes_before_the_list() -> None:
    assert price_of(MUCH, "openai:gpt-4o-mini", price=(0, 0)) == 0


def test_cached_input_costs_what_the_list_says() -> None:
    listed = ListedPrice("claude-haiku-4-5", "https://api.anthropic.com")
    plain = listed.of(Usage(calls=1, input_tokens=1_000_000))
    cached = listed.of(Usage(calls=1, input_tokens=1_000_000, cache_read_tokens=1_000_000))
    written = listed.of(Usage(calls=1, input_tokens=1_000_000, cache_write_tokens=1_000_000))
    assert plain is not None and cached is not None and written is not None
    assert (cached * 10, written * 100) == (plain, plain * 125)


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("claude-haiku-4-5", "https://api.anthropic.com"),
        ("claude-sonnet-4-5", "https://api.anthropic.com"),  # dearer from 200,000 tokens on
        ("gpt-6-luna", "https://api.openai.com/v1/"),
        ("gpt-4o-mini", "https://api.openai.com/v1/"),
        ("deepseek-flash", "https://api.deepseek.com"),
    ],
)
def test_a_price_is_what_the_list_calculates(model: str, url: str) -> None:
    listed = ListedPrice(model, url)
    chance = random.Random(7)
    for _ in range(50):
        tokens = chance.choice((0, 1, 999, 150_000, 199_999, 200_000, 271_999, 272_000, 272_001, 900_000))
        read = chance.choice((0, tokens // 3))
        written = chance.choice((0, tokens // 5))
        answered = chance.randrange(10_000)
        given = genai_prices.Usage(
            input_tokens=tokens, cache_read_tokens=read, cache_write_tokens=written, output_tokens=answered
        )
        usage = Usage(
            calls=1, input_tokens=tokens, cache_read_tokens=read, cache_write_tokens=written, output_tokens=answered
        )
        expected = genai_prices.calc_price(given, model, provider_api_url=url).total_price * PICO
        assert listed.of(usage) == expected


def test_given_prices_are_exact() -> None:
    assert GivenPrice((0.1, 0.3)).of(Usage(input_tokens=3, output_tokens=7)) == 2_400_000
    assert Decimal(PICO) * 24 / 10**7 == 2_400_000


def test_an_unknown_model_has_no_price() -> None:
    assert ListedPrice("no-such-model-x1", "https://api.openai.com/v1", "openai").of(MUCH) is None
    assert ListedPrice("gpt-4o-mini", None, None).of(MUCH) is None


def test_prices_are_looked_up_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("a price was asked for over the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    assert ListedPrice("gpt-4o-mini", "https://api.openai.com/v1").of(MUCH) == 750_000_000_000


@pytest.mark.parametrize(("i", "o"), [(0, 0), (1, 1), (1000, 256), (123_457, 4096), (900_000, 33)])
def test_what_a_budget_reserves_is_never_less_than_the_price(i: int, o: int) -> None:
    for model in (
        open_model("openai:gpt-4o-mini", api_key="k"),
        open_model("m", base_url=LOCAL, price=(0.37, 1.11)),
        open_model("m", base_url=LOCAL, price=(1e-7, 3.3e-7)),  # less than a unit for a token
        scripted(["a"], cost=0.001),
    ):
        need = need_of(model, input_tokens=i, output_tokens=o)
        real = model.price(Usage(calls=1, input_tokens=i, output_tokens=o))
        assert real is not None and not need.unpriced
        reserved = need.amount(o)
        assert real <= reserved.cost_pico <= real + o
        assert (reserved.calls, reserved.tokens) == (1, i + o)


def test_an_unknown_price_is_an_unpriced_need() -> None:
    need = need_of(open_model("m", base_url=LOCAL), input_tokens=10, output_tokens=20)
    assert need.unpriced and need.amount(20).tokens == 30
