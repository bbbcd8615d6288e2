"""What ``FILE.py:NAME`` names: code of the user's own, loaded from a file."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.errors import ConfigError, nearest

__all__ = ["load"]


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
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(
            f"{path} cannot be loaded: {type(error).__name__}: {error}",
            note=f"{_where(error, path)}--debug shows more.",
        ) from error
    if name != path.stem:  # nobody can import it under that name: to other processes it travels whole
        cloudpickle.register_pickle_by_value(module)
    return module


def _where(error: BaseException, path: Path) -> str:
    frame, number = error.__traceback__, None
    while frame is not None:
        if Path(frame.tb_frame.f_code.co_filename).resolve() == path.resolve():
            number = frame.tb_lineno
        frame = frame.tb_next
    return "" if number is None else f"Raised in line {number}. "
