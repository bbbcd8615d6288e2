"""What work took: calls, tokens and money, in whole numbers that add exactly."""

from __future__ import annotations

import msgspec

__all__ = ["PICO", "Usage", "pico_of", "usd_of"]

PICO = 1_000_000_000_000
"""How many units of cost make one USD: costs are whole numbers of 1e-12 USD."""


def usd_of(pico: int) -> float:
    """Return a cost in USD, the nearest float to the exact value."""
    return pico / PICO


def pico_of(usd: float) -> int:
    """Return USD as whole units of 1e-12, rounded to the nearest."""
    return round(usd * PICO)


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was used. ``a + b`` adds exactly.

    calls: calls of models and of agents that are no agents of Shoal, those that failed included.
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens: as the provider counts them; the input holds what
        was read from and written to its cache.
    tool_calls: tools that were run.
    cost_pico: the cost in 1e-12 USD.
    unpriced_calls: calls whose cost nobody knows.
    lost_calls, lost_pico: calls whose end was not seen (killed, cancelled, no usage told), and what was reserved for
        them: it counts against a budget and not in the cost.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    tool_calls: int = 0
    cost_pico: int = 0
    unpriced_calls: int = 0
    lost_calls: int = 0
    lost_pico: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(  # written out: it is done several times a step
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            tool_calls=self.tool_calls + other.tool_calls,
            cost_pico=self.cost_pico + other.cost_pico,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
            lost_calls=self.lost_calls + other.lost_calls,
            lost_pico=self.lost_pico + other.lost_pico,
        )

    def at_least(self, other: Usage) -> Usage:
        """Return the larger figure of each: two accounts of the same work, of which neither tells too much."""
        return Usage(**{name: max(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__})

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    @property
    def cost(self) -> float:
        """The cost in USD, the nearest float to the exact sum."""
        return usd_of(self.cost_pico)
