"""Packing work for its way to a process of a pool. It goes one way: nothing that comes back is unpickled."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.errors import ConfigError
from shoal.kernel.trace import Span

__all__ = ["pack_call"]


def pack_call(fn: Callable[..., Any], args: tuple[Any, ...], span: Span | None = None) -> bytes:
    """Return ``fn``, its arguments and the span around it for ``cloudpickle.loads`` in a child with the same import path.

    Functions and classes travel by name when the child finds their module under its name, otherwise as they are.

    Raises:
        ConfigError: something in it cannot travel.
    """
    with _by_value({module.__name__: module for module in _modules((fn, *args)) if not _found(module)}.values()):
        try:
            return bytes(cloudpickle.dumps((fn, args, span)))
        except Exception as error:
            what = getattr(fn, "__qualname__", None) or type(fn).__qualname__
            raise ConfigError(
                f"{what:.200} cannot travel to a process: {error}",
                note="Open files, locks, sockets and connections cannot leave their process; make them in the function.",
            ) from error


def _modules(values: Iterable[Any]) -> Iterator[ModuleType]:
    """Return the modules of the functions and classes among *values*."""
    for value in values:
        if isinstance(value, functools.partial):
            yield from _modules((value.func, *value.args))
            continue
        if inspect.ismethod(value):
            value = type(value.__self__)
        module = sys.modules.get(getattr(value, "__module__", None) or type(value).__module__)
        if module is not None:
            yield module


def _found(module: ModuleType) -> bool:
    """Tell whether an ordinary import finds the module; cloudpickle takes that of a script by value anyhow."""
    file = getattr(module, "__file__", None)
    return file is None or module.__name__ == "__main__" or _is_at(module.__name__, file)


@functools.lru_cache(maxsize=1000)
def _is_at(name: str, file: str) -> bool:
    parent = name.rpartition(".")[0]
    path = getattr(sys.modules.get(parent), "__path__", []) if parent else None
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec.origin for spec in specs if spec is not None), None) == file


@contextlib.contextmanager
def _by_value(modules: Iterable[ModuleType]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for module in modules:
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                stack.callback(cloudpickle.unregister_pickle_by_value, module)
        yield
