"""Budgets: what may be spent, and the account that sees to it. Pure arithmetic; every store uses this one.

Before a call its worst case is reserved, in the account of the budget and all above it; afterwards the reservation is
settled with what was really used. What a killed call had reserved is lost: it may have been spent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from shoal.kernel.usage import Usage, pico_of, usd_of

__all__ = ["LEAST_OUTPUT", "Account", "Amount", "Budget", "Grant", "LoopLimits", "Need", "Refusal", "grant"]

LEAST_OUTPUT = 256
"""The fewest output tokens to which a call is lowered so that it fits a budget."""


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run, or a part of one, may use. None: no limit.

    Args:
        max_cost: USD.
        max_tokens: input and output together.
        max_calls: calls of models, and of agents that are no agents of Shoal.
        max_seconds: active time, waiting for people not counted.
        on_exhausted: ``stop`` (the pattern ends with ``stopped="budget"`` and its finished work) or ``ask`` (a person
            decides whether it goes on with as much again).
        warn_at: shares of a limit at which ``budget_warning`` is told, once each.
        cheap_at: the share from which agents use their ``cheap_model``.
        unpriced: under ``max_cost``, whether a model whose price nobody knows is refused or allowed.

    Raises:
        ValueError: a field, its value and what is allowed.
    """

    max_cost: float | None = None
    max_tokens: int | None = None
    max_calls: int | None = None
    max_seconds: float | None = None
    on_exhausted: Literal["stop", "ask"] = "stop"
    warn_at: tuple[float, ...] = (0.8, 0.95)
    cheap_at: float | None = None
    unpriced: Literal["refuse", "allow"] = "refuse"

    def __post_init__(self) -> None:
        for name, whole in (("max_cost", False), ("max_seconds", False), ("max_tokens", True), ("max_calls", True)):
            value = getattr(self, name)
            if value is not None and not _number(value, whole=whole):
                raise ValueError(f"Budget({name}={value!r:.80}): it must be a {'whole ' * whole}number from 0, or None")
        shares = (*self.warn_at, *(() if self.cheap_at is None else (self.cheap_at,)))
        if not all(_number(share) and share <= 1 for share in shares):
            raise ValueError(f"Budget: warn_at and cheap_at are shares from 0 to 1, not {shares!r:.80}")
        if self.on_exhausted not in ("stop", "ask"):
            raise ValueError(f"Budget(on_exhausted={self.on_exhausted!r:.80}): it must be 'stop' or 'ask'")
        if self.unpriced not in ("refuse", "allow"):
            raise ValueError(f"Budget(unpriced={self.unpriced!r:.80}): it must be 'refuse' or 'allow'")


def _number(value: object, *, whole: bool = False) -> bool:
    kinds = (int,) if whole else (int, float)
    return isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


class LoopLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When work that goes in circles is ended.

    Args:
        max_tool_calls_per_reply: further calls of one reply are refused to the model.
        max_same_call: calls with the same name and arguments in one chat; the next is refused, one more ends the chat.
        max_tool_calls: tool calls in one chat; the next ends it.
        max_handoffs: in one team.
        max_repeats: the same plan with the same outputs, or the same handoff with the same text.
    """

    max_tool_calls_per_reply: int = 10
    max_same_call: int = 2
    max_tool_calls: int = 30
    max_handoffs: int = 10
    max_repeats: int = 3

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not _number(value, whole=True) or value < 1:
                raise ValueError(f"LoopLimits({name}={value!r:.80}): it must be a whole number from 1")


class Need(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The worst case of one call: an upper bound of its input, and its output at a price per token (1e-12 USD).

    ``input_pico`` and ``output_pico`` (of one token) are None when nobody knows the price.
    """

    calls: int = 1
    input_tokens: int = 0
    input_pico: int | None = 0
    output_tokens: int = 0
    output_pico: int | None = 0

    def amount(self, output_tokens: int) -> Amount:
        """Return what is reserved with that many output tokens."""
        cost = (self.input_pico or 0) + (self.output_pico or 0) * output_tokens
        return Amount(calls=self.calls, tokens=self.input_tokens + output_tokens, cost_pico=cost)

    @property
    def unpriced(self) -> bool:
        """Whether the price is not known."""
        return self.input_pico is None or self.output_pico is None


class Amount(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What counts against a budget."""

    calls: int = 0
    tokens: int = 0
    cost_pico: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            cost_pico=self.cost_pico + other.cost_pico,
        )

    def __sub__(self, other: Amount) -> Amount:
        return Amount(
            calls=self.calls - other.calls,
            tokens=self.tokens - other.tokens,
            cost_pico=self.cost_pico - other.cost_pico,
        )

    def beyond(self, other: Amount) -> Amount:
        """Return by how much this is more than *other*, of each 0 where it is not."""
        return Amount(
            calls=max(0, self.calls - other.calls),
            tokens=max(0, self.tokens - other.tokens),
            cost_pico=max(0, self.cost_pico - other.cost_pico),
        )

    @classmethod
    def of(cls, usage: Usage) -> Amount:
        """Return what *usage* counts."""
        return cls(calls=usage.calls, tokens=usage.tokens, cost_pico=usage.cost_pico)


class Account(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The account of one budget: settled, held by open reservations, lost. ``parent``: the account of the budget above."""

    account_id: str
    budget: Budget
    run_id: str = ""
    parent: str | None = None
    spent: Amount = Amount()
    held: Amount = Amount()
    lost: Amount = Amount()
    warned: float = 0.0  # the highest share of warn_at that was told

    @property
    def used(self) -> Amount:
        """What is no longer free."""
        return self.spent + self.held + self.lost

    @property
    def share(self) -> float:
        """The largest share of a limit that is settled or lost, 0 to 1 and above."""
        gone = self.spent + self.lost
        return max((value / limit if limit else 1.0 for _, limit, value in _limits(self.budget, gone)), default=0.0)


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a reservation was refused: which account, which limit, what is used of it, what more was needed."""

    account_id: str
    limit: str
    allowed: float
    spent: float
    needed: float


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation. ``output_tokens`` may be lower than asked. ``refusal``: nothing was reserved, and why.

    ``unpriced``: the account that refuses a call without a price. ``cheap``: a budget has reached its ``cheap_at``.
    """

    amount: Amount = Amount()
    output_tokens: int = 0
    refusal: Refusal | None = None
    unpriced: str | None = None
    cheap: bool = False


def grant(accounts: Sequence[Account], need: Need) -> Grant:
    """Decide on a reservation: it must fit *accounts*, those of a budget and all above it.

    If only the output does not fit, it is lowered, not below LEAST_OUTPUT (nor below what was asked, if that is less).
    """
    for account in accounts:
        if need.unpriced and account.budget.max_cost is not None and account.budget.unpriced == "refuse":
            return Grant(unpriced=account.account_id)
    output = need.output_tokens
    for account in accounts:
        output = min(output, _room_for_output(account, need))
    if output < min(LEAST_OUTPUT, need.output_tokens):
        output = min(LEAST_OUTPUT, need.output_tokens)
    amount = need.amount(output)
    for account in accounts:
        for name, limit, value in _limits(account.budget, account.used + amount):
            if value > limit:
                used = {n: v for n, _, v in _limits(account.budget, account.used)}[name]
                return Grant(refusal=_refusal(account, name, limit, used, value - used))
    cheap = any(a.budget.cheap_at is not None and a.share >= a.budget.cheap_at for a in accounts)
    return Grant(amount=amount, output_tokens=output, cheap=cheap)


def _limits(budget: Budget, amount: Amount) -> list[tuple[str, int, int]]:
    found: list[tuple[str, int, int]] = []
    if budget.max_calls is not None:
        found.append(("max_calls", budget.max_calls, amount.calls))
    if budget.max_tokens is not None:
        found.append(("max_tokens", budget.max_tokens, amount.tokens))
    if budget.max_cost is not None:
        found.append(("max_cost", pico_of(budget.max_cost), amount.cost_pico))
    return found


def _refusal(account: Account, name: str, limit: int, used: int, needed: int) -> Refusal:
    scale = usd_of if name == "max_cost" else float
    return Refusal(
        account_id=account.account_id, limit=name, allowed=scale(limit), spent=scale(used), needed=scale(needed)
    )


def _room_for_output(account: Account, need: Need) -> int:
    """Return how many output tokens fit this account; a negative number when not even the input does."""
    room = need.output_tokens
    free = {name: limit - value for name, limit, value in _limits(account.budget, account.used + need.amount(0))}
    if "max_tokens" in free:
        room = min(room, free["max_tokens"])
    if "max_cost" in free and need.output_pico:
        room = min(room, free["max_cost"] // need.output_pico)
    return room
