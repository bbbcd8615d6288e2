"""Awaitables that are done."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from shoal.errors import ShoalError

__all__ = ["Done", "awaited", "done"]

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")


class Done(Generic[T]):
    """An awaitable that has its result, or its error, already: awaiting it costs no turn of the loop."""

    __slots__ = ("_error", "_value")

    def __init__(self, value: T | None = None, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    def result(self) -> T:
        """Return the result, or raise the error, without awaiting it."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]  # without an error there is a value, which may be None

    def __await__(self) -> Generator[Any, None, T]:
        yield from ()
        return self.result()


def done(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Done[T]:
    """Call *fn* now; its result, or what it refused, is for whoever awaits it."""
    try:
        return Done(fn(*args, **kwargs))
    except ShoalError as error:
        return Done(error=error)


def awaited(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Done[T]]:
    """Make of a method one whose result or refusal is awaited, as that of a store is."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Done[T]:
        return done(method, self, *args, **kwargs)

    return call
