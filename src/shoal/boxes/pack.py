"""Packing an agent's source for its journey to a child. It goes one way: nothing that comes back is unpickled."""

from __future__ import annotations

import base64
import contextlib
import functools
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.errors import ConfigError
from shoal.kernel.behaviour import describe

__all__ = ["culprit", "is_installed", "own_modules_by_value", "pack", "packed", "travels_by_value"]

_INSTALLED = tuple(
    os.path.join(os.path.realpath(path), "")
    for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)


_BROUGHT_ALONG = ("cloudpickle", "msgspec", "shoal")


def travels_by_value(module: ModuleType) -> bool:
    """Tell whether a module is the user's own: neither of the standard library, nor installed, nor Shoal's."""
    file = getattr(module, "__file__", None)
    name = module.__name__
    if name.partition(".")[0] in _BROUGHT_ALONG or file is None:
        return False
    return not is_installed(file)


def is_installed(path: str) -> bool:
    """Tell whether a file or directory belongs to the standard library or to installed packages."""
    return os.path.join(os.path.realpath(path), "").startswith(_INSTALLED)


def pack(source: Any, *, all_own: bool = False) -> bytes:
    """Return *source* (a class, function or object) for ``cloudpickle.loads`` in a child.

    What it needs of its own module travels with it when that module is the user's own (*all_own*: what it needs of any
    of the user's modules); everything else is imported there, so the child needs the same import path for it.

    Raises:
        ConfigError: it cannot travel; the text names the object in it that cannot.
    """
    with own_modules_by_value() if all_own else _by_value(_module(source)):
        try:
            return bytes(cloudpickle.dumps(source))
        except Exception as error:
            where = culprit(source) or describe(source)
            raise ConfigError(
                f"agent {describe(source)} cannot travel to a process: {where}: {error}",
                note="Open files, locks, sockets and connections cannot leave their process; make them in on_start.",
            ) from error


def packed(program: Callable[[], Any], isolation: str) -> str:
    """Return *program* as text, for the way from a child to its runtime, which passes it on unopened.

    Raises ConfigError: it cannot travel.
    """
    return base64.b64encode(pack(program, all_own=isolation != "process")).decode()


def _module(source: Any) -> ModuleType | None:
    if isinstance(source, functools.partial):
        return _module(source.func)
    name = getattr(source, "__module__", None) or type(source).__module__
    return sys.modules.get(name)


@contextlib.contextmanager
def _by_value(module: ModuleType | None) -> Iterator[None]:
    if (
        module is None
        or module.__name__ == "__main__"  # always by value
        or not travels_by_value(module)
        or module.__name__ in cloudpickle.list_registry_pickle_by_value()
    ):
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def culprit(source: Any, depth: int = 3) -> str | None:
    """Return the path to the innermost part of *source* that cannot be packed."""
    for name, part in _parts(source).items():
        try:
            cloudpickle.dumps(part)
        except Exception:  # noqa: BLE001 - any failure to pack is what is looked for
            inner = culprit(part, depth - 1) if depth else None
            return f"{name}.{inner}" if inner else f"{name} ({type(part).__name__})"
    return None


def _parts(source: Any) -> Mapping[str, Any]:
    if inspect.ismethod(source):
        return {"__self__": source.__self__, "__func__": source.__func__}
    if inspect.isfunction(source):
        try:
            used = inspect.getclosurevars(source)
        except ValueError:
            return {}
        return {**used.nonlocals, **used.globals}
    if isinstance(source, type):
        return {name: part for name, part in vars(source).items() if name not in ("__dict__", "__weakref__")}
    if isinstance(source, Mapping):
        return {str(name): part for name, part in source.items()}
    if isinstance(source, (list, tuple)):
        return {f"[{place}]": part for place, part in enumerate(source)}
    return vars(source) if hasattr(source, "__dict__") else {}


@contextlib.contextmanager
def own_modules_by_value() -> Iterator[None]:
    """Let everything travel that the user wrote and has imported: a box finds none of it."""
    known = cloudpickle.list_registry_pickle_by_value()
    own = [module for module in list(sys.modules.values()) if _is_own(module) and module.__name__ not in known]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(module: object) -> bool:
    if not isinstance(module, ModuleType) or module.__name__ == "__main__":  # that one is always by value
        return False
    file = getattr(module, "__file__", None)
    return file is not None and sys.modules.get(module.__name__) is module and _goes(module.__name__, file)


@functools.lru_cache(maxsize=10_000)
def _goes(name: str, file: str) -> bool:
    return travels_by_value(sys.modules[name])
