"""When a call of a model is made again, how long that waits, and who answers instead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from shoal.errors import (
    ContentFilteredError,
    ContextTooLongError,
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
)
from shoal.kernel.ports import Clock
from shoal.llm.model import Model

__all__ = ["FINAL", "RETRYABLE", "Attempt", "Chance", "Gate", "Pace", "place_of", "with_retries"]

T = TypeVar("T")

RETRYABLE = (ModelRateLimitError, ModelUnavailableError, ModelTimeoutError)
"""Another attempt may succeed."""
FINAL = (ModelAuthError, ModelRejectedError, ContextTooLongError, ContentFilteredError)
"""Another attempt at the same model changes nothing; another model may answer."""

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 60.0


class Chance(Protocol):
    """A source of random numbers."""

    def random(self) -> float:
        """Return a number from 0 to 1, without 1."""
        ...


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt, when it is over.

    model: its name. number: from 1, counted on through the fallbacks. error_type, error: "" when it succeeded.
    duration_ms: what it took, without waiting. wait_seconds: until the next attempt at the same model; None: there is
    none.
    """

    model: str
    number: int
    error_type: str = ""
    error: str = ""
    duration_ms: float = 0.0
    wait_seconds: float | None = None


class Gate:
    """Holds back calls to a provider that answered "too many": one for a runtime, or else for an agent."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def hold(self, place: str, until: float) -> None:
        """Let nobody call *place* before *until*, on the monotonic clock."""
        self._until[place] = max(until, self._until.get(place, until))

    async def wait(self, place: str, clock: Clock) -> None:
        """Wait until *place* may be called."""
        while (until := self._until.get(place)) is not None:
            if until <= clock.monotonic():
                del self._until[place]
                return
            await clock.sleep_until(until)


class Pace(NamedTuple):
    """How attempts follow each other.

    clock: on which they wait.
    random: takes away from the waits.
    gate: shared by those whose calls a rate limit is to hold back, too.
    known: tells of an attempt, by its number, whether it was made in an earlier life of the run: it is only read again
        then, so nothing is waited for, and nobody is held back.
    """

    clock: Clock
    random: Chance
    gate: Gate
    known: Callable[[int], bool] = lambda number: False


def place_of(model: Model) -> str:
    """Return the provider and key that calls of *model* count against, the key as a fingerprint."""
    return str(getattr(model, "place", model.name))


async def with_retries(
    call: Callable[[Model, int], Awaitable[T]],
    *,
    models: Sequence[Model],
    retries: int,
    pace: Pace,
    on_attempt: Callable[[Attempt], object],
) -> T:
    """Return what ``call(model, attempt)`` returns, at the first model that answers.

    A retryable error is followed by up to *retries* further attempts at the same model, after 0.5 s, doubled each time,
    of which chance takes up to a half away ("equal jitter", Brooker, AWS Architecture Blog 2015); a rate limit by
    what the provider asked for, 60 s at most. Then, and after a final error at once, the next model is asked by the
    same rules. Any other error is raised as it is.

    Args:
        models: the model, then its fallbacks in turn.
        retries: further attempts at each.
        pace: how they follow each other.
        on_attempt: told of each attempt when it is over.

    Raises:
        ModelError: that of the last attempt; a note names those before it.
    """
    clock = pace.clock
    number = 0
    failed: list[str] = []
    last: ModelError | None = None
    for model in models:
        for left in range(retries, -1, -1):
            number += 1
            if not (known := pace.known(number)):
                await pace.gate.wait(place_of(model), clock)
            begun = clock.monotonic()
            try:
                result = await call(model, number)
            except (*RETRYABLE, *FINAL) as error:
                last = error
            else:
                on_attempt(_told(model, number, begun, clock))
                return result
            wait = _wait(last, retries - left, pace.random) if left and isinstance(last, RETRYABLE) else None
            if isinstance(last, ModelRateLimitError) and not known:
                pace.gate.hold(place_of(model), clock.monotonic() + _held(last, wait))
            on_attempt(_told(model, number, begun, clock, last, wait))
            failed.append(f"{model.name}: {type(last).__name__}")
            if wait is None:
                break
            if not pace.known(number + 1):
                await clock.sleep(wait)
    if last is None:
        raise ValueError("with_retries needs at least one model")
    if len(failed) > 1:
        last.add_note(f"It was attempt {len(failed)}; before it: {', '.join(failed[:-1])}")
    raise last


def _wait(error: ModelError, before: int, random: Chance) -> float:
    asked = _asked(error)
    if asked is not None:
        return asked
    return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**before) * (1 - random.random() / 2)


def _held(error: ModelError, wait: float | None) -> float:
    """Return the seconds for which all calls to the place are held back; *wait*: until the next attempt, if there is one."""
    asked = _asked(error) if wait is None else wait
    return FIRST_SECONDS if asked is None else asked


def _asked(error: ModelError) -> float | None:
    """Return the seconds that the provider asked to wait."""
    if not isinstance(error, ModelRateLimitError) or error.retry_after is None:
        return None
    return min(LONGEST_SECONDS, max(0.0, error.retry_after))


def _told(
    model: Model, number: int, begun: float, clock: Clock, error: ModelError | None = None, wait: float | None = None
) -> Attempt:
    return Attempt(
        model=model.name,
        number=number,
        error_type="" if error is None else type(error).__name__,
        error="" if error is None else str(error),
        duration_ms=(clock.monotonic() - begun) * 1000,
        wait_seconds=wait,
    )
