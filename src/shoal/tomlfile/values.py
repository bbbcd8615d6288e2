"""Values that files of every kind have: times, paths, code of files beside it, records, stores."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from shoal.errors import ConfigError, nearest
from shoal.loading import load
from shoal.store import open_store
from shoal.tomlfile.faults import Faults, Path_

__all__ = ["Told", "converted", "is_time", "read_function", "read_store", "seconds_of", "told"]

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_NO_SUCH_WORD = re.compile(r"Invalid enum value '(.*)' - at `\$\.(\w+)", re.DOTALL)
_FUNCTION = re.compile(r"[^:]+\.py:[A-Za-z_][\w.]*")

Told = Callable[[str], Path]
"""The path that a relative one in the file means."""


def told(folder: Path) -> Told:
    """Return what makes paths out of texts, relative ones below *folder*."""
    return lambda text: folder / Path(text).expanduser()


def is_time(key: str) -> bool:
    """Tell whether the value of *key* is a time."""
    return key == "timeout" or key.endswith(("_timeout", "_seconds"))


def seconds_of(value: Any) -> Any:
    """Return a time in seconds: ``"45s"``, ``"30min"``, ``"2h"``, ``"none"`` (None: no limit); a number is seconds already.

    Raises ValueError: it is none of these.
    """
    if not isinstance(value, str):
        return value
    if value == "none":
        return None
    found = _TIME.fullmatch(value.strip())
    if found is None:
        raise ValueError(f"{value[:80]!r} is no time: write seconds as a number, or 45s, 30min, 2h")
    return float(found[1]) * _UNITS[found[2]]


def read_function(value: str, path_of: Told, what: str = "function") -> Any:
    """Return what ``FILE.py:NAME`` names; a relative FILE stands beside the file that names it. *what* it is to be.

    Raises ConfigError: no such file or name; the file raised when it was loaded.
    """
    if not _FUNCTION.fullmatch(value):
        raise ConfigError(f"{value[:80]!r} names no {what}: write FILE.py:NAME")
    file, _, name = value.rpartition(":")
    return load(f"{path_of(file)}:{name}")


def converted(table: Mapping[str, Any], kind: Any) -> Any:
    """Return *table* as the record *kind*. Raises ConfigError: a key that it has not, a value that is not possible."""
    for key in table:
        if key not in kind.__struct_fields__:
            raise ConfigError(f"there is no key {key[:80]!r} in it{nearest(key, kind.__struct_fields__)}")
    try:
        return msgspec.convert(dict(table), kind)
    except msgspec.ValidationError as error:
        raise ConfigError(_allowed(str(error), kind) or str(error)) from error


def _allowed(text: str, kind: Any) -> str:
    """Return what is wrong by *text* and the words that are right, when one word out of few was not one of them."""
    found = _NO_SUCH_WORD.match(text)
    if found is None:
        return ""
    words: list[Any] = []
    types = [get_type_hints(kind)[found[2]]]
    while types:
        each = types.pop(0)
        known = get_args(each)
        if get_origin(each) is Literal:
            words += known
        else:
            types += [other for other in known if other is not Ellipsis]
    return f"{found[2]}: {found[1]!r:.80} is not one of {', '.join(map(str, words))}"


def read_store(table: Mapping[str, Any], place: Path_, faults: Faults) -> str:
    """Return the URL of the store that stands at *place*, else ``SHOAL_STORE``, else ``./shoal.db``; nothing is opened."""
    given = table.get("store")
    if given is not None and not (isinstance(given, str) and given.strip()):
        faults.add(place, "store must be a URL such as sqlite:///./auth.db, or a path")
        given = None
    url = given or os.environ.get("SHOAL_STORE") or "sqlite:///./shoal.db"
    url = url if "://" in url else f"sqlite:///{url}"
    with faults.of(place, "store: "):
        open_store(url)
    return url
