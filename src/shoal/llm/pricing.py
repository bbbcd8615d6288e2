"""What a call costs, in whole units of 1e-12 USD: by a list of prices, by a price that was given, or unknown."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Protocol

from shoal.kernel.budget import Need
from shoal.kernel.usage import PICO, Usage

__all__ = ["GivenPrice", "ListedPrice", "Priced", "Pricing", "UnknownPrice", "need_of"]

MILLION = 1_000_000


class Pricing(Protocol):
    """A way to price usage."""

    def of(self, usage: Usage) -> int | None:
        """Return what *usage* of one call costs in 1e-12 USD; None: not known."""
        ...


class Priced(Protocol):
    """What has a price, as every ``Model`` does."""

    def price(self, usage: Usage) -> int | None:
        """Return what *usage* costs in 1e-12 USD; None: not known."""
        ...


class UnknownPrice:
    """Nobody knows."""

    def of(self, usage: Usage) -> int | None:
        """Return None."""
        return None


class GivenPrice:
    """A price that the developer gave.

    Args:
        price: (input, output), USD per million tokens.

    Raises:
        ValueError: that is no pair of numbers from 0.
    """

    def __init__(self, price: tuple[float, float]) -> None:
        numbers = tuple(price) if isinstance(price, (tuple, list)) else ()
        if len(numbers) != 2 or not all(_from_zero(number) for number in numbers):
            raise ValueError(
                f"price={price!r:.80}: it must be two numbers from 0: (input, output), in USD per million tokens"
            )
        self._input, self._output = (Decimal(str(number)) for number in numbers)

    def of(self, usage: Usage) -> int | None:
        """Return the price of the input and output tokens."""
        return _pico((self._input * usage.input_tokens + self._output * usage.output_tokens) / MILLION)


class ListedPrice:
    """The price in the list of genai-prices that is installed; nothing is asked over the network.

    Args:
        model: the model's name, without its provider.
        url: where the provider is reached; it decides whose price it is, so a server of another's is never charged
            the price of the provider whose model's name it uses.
        provider: looked up by this name when the list does not know the URL; None: never.
    """

    def __init__(self, model: str, url: str | None, provider: str | None = None) -> None:
        self._model = model
        self._url = url
        self._provider = provider

    def of(self, usage: Usage) -> int | None:
        """Return the listed price; None when the list has none."""
        try:
            if self._url is not None:
                return self._look_up(usage, by_url=True)
        except LookupError:
            pass
        try:
            return None if self._provider is None else self._look_up(usage, by_url=False)
        except LookupError:
            return None

    def _look_up(self, usage: Usage, *, by_url: bool) -> int:
        from genai_prices import Usage as Counted  # a megabyte of prices: only for those who ask
        from genai_prices import calc_price

        counted = Counted(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
            output_tokens=usage.output_tokens,
        )
        if by_url:
            return _pico(calc_price(counted, self._model, provider_api_url=self._url).total_price)
        return _pico(calc_price(counted, self._model, provider_id=self._provider).total_price)


def need_of(model: Priced, *, input_tokens: int, output_tokens: int) -> Need:
    """Return the worst case of one call of *model*, as budgets reserve it.

    Args:
        input_tokens: an upper bound of the input.
        output_tokens: the most it may answer, ``max_tokens``.
    """
    bare = model.price(Usage(calls=1, input_tokens=input_tokens))
    whole = model.price(Usage(calls=1, input_tokens=input_tokens, output_tokens=output_tokens))
    if bare is None or whole is None:
        return Need(input_tokens=input_tokens, input_pico=None, output_tokens=output_tokens, output_pico=None)
    each = -((bare - whole) // max(1, output_tokens))  # rounded up
    return Need(input_tokens=input_tokens, input_pico=bare, output_tokens=output_tokens, output_pico=each)


def _pico(usd: Decimal) -> int:
    return int((usd * PICO).to_integral_value(ROUND_HALF_EVEN))


def _from_zero(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number) and number >= 0
