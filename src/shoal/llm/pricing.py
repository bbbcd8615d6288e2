"""What a call costs, in whole units of 1e-12 USD: by a list of prices, by a price that was given, or unknown."""

from __future__ import annotations

import math
import sys
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, NamedTuple, Protocol

from shoal.kernel.budget import Need
from shoal.kernel.usage import PICO, Usage

if TYPE_CHECKING:
    from genai_prices.types import PriceCalculation

__all__ = ["GivenPrice", "ListedPrice", "Priced", "Pricing", "UnknownPrice", "need_of"]

MILLION = 1_000_000
PROBE = 1000  # tokens


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

        self._found = False
        self._where: dict[str, str] | None = None
        self._rates: _Rates | None = None

    def of(self, usage: Usage) -> int | None:
        """Return the listed price; None when the list has none."""
        if not self._found:
            self._find()
        rates = self._rates
        if rates is None or usage.input_tokens >= rates.below:
            return None if self._where is None else _pico(self._listed(usage, self._where).total_price)
        plain = max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
        read, written = usage.cache_read_tokens * rates.read, usage.cache_write_tokens * rates.write
        return _whole(plain * rates.input + read + written + usage.output_tokens * rates.output)

    def _find(self) -> None:
        """Look once where the list has the model, and what a token costs if that is always the same."""
        for name, value in (("provider_api_url", self._url), ("provider_id", self._provider)):
            if value is None:
                continue
            try:
                found = self._listed(Usage(input_tokens=1), {name: value})
            except LookupError:
                continue
            self._where = {name: value}
            self._rates = self._rates_of(found, self._where)
            break
        self._found = True

    def _rates_of(self, found: PriceCalculation, where: dict[str, str]) -> _Rates | None:
        """Asking the list takes a tenth of a millisecond and more; most prices are so much a token, as far as a step."""
        if isinstance(found.model.prices, list):  # they depend on the time
            return None
        steps = [tier.start for price in vars(found.model_price).values() for tier in getattr(price, "tiers", ())]
        below = min(steps, default=sys.maxsize)
        if below <= PROBE:
            return None
        usages = (
            Usage(input_tokens=PROBE),
            Usage(input_tokens=PROBE, cache_read_tokens=PROBE),
            Usage(input_tokens=PROBE, cache_write_tokens=PROBE),
            Usage(output_tokens=PROBE),
        )
        return _Rates(below, *(self._listed(usage, where).total_price * PICO / PROBE for usage in usages))

    def _listed(self, usage: Usage, where: dict[str, str]) -> PriceCalculation:
        from genai_prices import Usage as Counted  # a megabyte of prices: only for those who ask
        from genai_prices import calc_price

        counted = Counted(
            input_tokens=usage.input_tokens,
            cache_read_tokens=usage.cache_read_tokens or None,
            cache_write_tokens=usage.cache_write_tokens or None,
            output_tokens=usage.output_tokens,
        )
        return calc_price(counted, self._model, **where)  # type: ignore[call-overload, no-any-return]


class _Rates(NamedTuple):
    """What a token costs, in 1e-12 USD, in a call with an input below so many tokens."""

    below: int
    input: Decimal
    read: Decimal
    write: Decimal
    output: Decimal


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
    return _whole(usd * PICO)


def _whole(pico: Decimal) -> int:
    return int(pico.to_integral_value(ROUND_HALF_EVEN))


def _from_zero(number: object) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number) and number >= 0
