"""Locks around functions and tools."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from shoal.errors import nearest
from shoal.llm.locks.manager import get_lock

__all__ = ["thread_safe_tool", "with_lock"]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

DEFAULT_KEY = "default"


def with_lock(
    namespace: str, key_arg: str | None = None, timeout: float | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let one call at a time run for each key. For functions, methods and coroutine functions.

    Args:
        namespace: of the lock.
        key_arg: the parameter whose value is the key, given by position, by name or by default; None: the key ``default``.
        timeout: seconds to wait for the lock; None: for ever.

    Raises:
        ValueError: the function has no parameter *key_arg*.
        TypeError: it is no function, or a generator, which would run after the lock was released.
    """

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        key_of = _key_of(fn, key_arg)
        get_lock(namespace, DEFAULT_KEY, timeout)  # names what is wrong with them

        if inspect.iscoroutinefunction(fn):

            @functools.wraps(fn)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
                async with get_lock(namespace, key_of(args, kwargs), timeout):
                    return await fn(*args, **kwargs)

            return cast("Callable[P, R]", run_async)

        @functools.wraps(fn)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with get_lock(namespace, key_of(args, kwargs), timeout):
                return fn(*args, **kwargs)

        return run

    return decorate


def thread_safe_tool(namespace: str, key_arg: str | None = None, timeout: float | None = 30.0) -> Callable[[C], C]:
    """Let one ``execute`` of a tool class at a time run for each key. The class stays a class, and the same one.

    Args:
        namespace: of the lock.
        key_arg: the parameter of ``execute`` whose value is the key; None: the key ``default``.
        timeout: seconds to wait for the lock; None: for ever.

    Raises:
        TypeError: it is no class with a method ``execute``.
        ValueError: ``execute`` has no parameter *key_arg*.
    """

    def decorate(cls: C) -> C:
        if not isinstance(cls, type):
            raise TypeError(f"thread_safe_tool is for classes, with_lock for functions; {cls!r:.80} is no class")
        execute = inspect.getattr_static(cls, "execute", None)
        if not inspect.isfunction(execute):
            raise TypeError(f"{cls.__name__} has no method execute(self, ...)")
        cast("Any", cls).execute = with_lock(namespace, key_arg, timeout)(execute)
        return cls

    return decorate


def _key_of(fn: Callable[..., Any], key_arg: str | None) -> Callable[[tuple[Any, ...], dict[str, Any]], str]:
    """Return what finds the key among the arguments of a call."""
    name = getattr(fn, "__qualname__", repr(fn))
    if not callable(fn) or isinstance(fn, type):
        raise TypeError(f"with_lock is for functions, thread_safe_tool for classes; {name[:80]} is no function")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(f"{name[:80]} is a generator: it would run after its lock was released")
    if key_arg is None:
        return lambda args, kwargs: DEFAULT_KEY
    signature = inspect.signature(fn)
    if key_arg not in signature.parameters:
        known = ", ".join(signature.parameters)
        raise ValueError(f"{name[:80]}({known}) has no parameter {key_arg!r}{nearest(key_arg, signature.parameters)}")

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        bound = signature.bind(*args, **kwargs)  # raises the TypeError that the call would
        bound.apply_defaults()
        return str(bound.arguments[key_arg])

    return find
