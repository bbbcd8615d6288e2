"""What ``FILE.py:NAME`` names: code of the user's own, loaded from a file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.errors import ConfigError, nearest

__all__ = ["forget_source", "load", "load_source"]


def load(target: str) -> Any:
    """Return what ``FILE.py:NAME`` names; the file's folder is searched for what it imports, as Python does.

    A file is loaded once: what it holds is the same for all who name it.

    Raises:
        ConfigError: there is no such file or name, or the file raised.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ConfigError(f"{target[:80]!r} names no agent", note="Write FILE.py:NAME, as hello.py:Greeter.")
    path = Path(place)
    if not path.is_file():
        raise ConfigError(f"there is no file {place[:200]}", note="Write FILE.py:NAME, as hello.py:Greeter.")
    found: Any = _import(path)
    for word in name.split("."):
        if not hasattr(found, word):
            known = [known for known in vars(found) if not known.startswith("_")]
            raise ConfigError(f"{place} has no {name[:80]!r}{nearest(word, known)}")
        found = getattr(found, word)
    return found


def _import(path: Path) -> ModuleType:
    file = str(path.resolve())
    for loaded in list(sys.modules.values()):
        if getattr(loaded, "__file__", None) == file:
            return loaded
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = path.stem
    if name in sys.modules or not name.isidentifier():
        name = f"shoal_run_{hashlib.sha256(file.encode()).hexdigest()[:8]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file", note="Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    _execute(module, path, spec.loader.exec_module, (Exception, SystemExit))
    if name != path.stem:  # nobody can import it under that name: to other processes it travels whole
        cloudpickle.register_pickle_by_value(module)
    return module


def load_source(name: str, path: Path, source: bytes) -> ModuleType:
    """Return the module that *source* makes, which was read from *path*: a new one, whatever was loaded from there before.

    It is known by *name*, which nothing else may have, until ``forget_source``; to other processes it travels whole. The
    file is not read again, nothing is kept of its compilation, and its folder is not searched for what it imports.

    Raises:
        ConfigError: it is no Python, or it raised.
    """
    module = ModuleType(name)
    module.__file__ = str(path)

    def execute(made: ModuleType) -> None:
        exec(compile(source, str(path), "exec", dont_inherit=True), vars(made))

    _execute(module, path, execute, (BaseException,))
    cloudpickle.register_pickle_by_value(module)
    return module


def forget_source(module: ModuleType) -> None:
    """Forget a module that ``load_source`` made. What still uses it goes on, but travels to no process any more."""
    if sys.modules.pop(module.__name__, None) is not None:
        cloudpickle.unregister_pickle_by_value(module)


def _execute(
    module: ModuleType, path: Path, execute: Callable[[ModuleType], object], own: tuple[type[BaseException], ...]
) -> None:
    """Fill a module. One that cannot be is not left behind; errors of the kinds *own* are told as the file's."""
    sys.modules[module.__name__] = module
    try:
        execute(module)
    except BaseException as error:
        del sys.modules[module.__name__]
        if not isinstance(error, own):
            raise
        raise ConfigError(
            f"{path} cannot be loaded: {_told(error)}{_where(error, path)}", note="--debug shows more."
        ) from error


def _told(error: BaseException) -> str:
    return ": ".join(word for word in (type(error).__name__, str(error)) if word)


def _where(error: BaseException, path: Path) -> str:
    frame, number = error.__traceback__, None
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename).resolve() == path.resolve():
            number = frame.tb_lineno
        frame = frame.tb_next
    return "" if number is None else f" (line {number})"
