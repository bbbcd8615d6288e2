"""Values of a team file: times, functions of files beside it, budgets, stores, servers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from shoal.errors import ConfigError, nearest
from shoal.kernel.budget import Budget
from shoal.llm.mcp import MCPTools
from shoal.loading import load
from shoal.store import open_store
from shoal.teamfile.faults import Faults, Path_, is_secret

__all__ = [
    "Told",
    "converted",
    "is_time",
    "read_budget",
    "read_function",
    "read_runner",
    "read_secret",
    "read_server",
    "read_store",
    "seconds_of",
    "told",
]

_TIME = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|sec|m|min|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_LEVELS = ("auto", "microvm", "gvisor", "bubblewrap", "process")
_SERVER = ("command", "url", "env", "pass_env", "include", "exclude", "timeout", "approval")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
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


def read_function(value: str, path_of: Told) -> Any:
    """Return what ``FILE.py:NAME`` names; a relative FILE stands beside the team file.

    Raises ConfigError: no such file or name; the file raised when it was loaded.
    """
    if not _FUNCTION.fullmatch(value):
        raise ConfigError(f"{value[:80]!r} names no function: write FILE.py:NAME")
    file, _, name = value.rpartition(":")
    return load(f"{path_of(file)}:{name}")


def read_secret(value: object) -> str:
    """Return what the environment variable *value* holds. What is no name of one may be a key: it is not printed.

    Raises ConfigError: it is no name, or there is no such variable.
    """
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise ConfigError(
            "it must be the name of an environment variable, in capitals: the key itself is not written here"
        )
    found = os.environ.get(value, "").strip()
    if not found:
        raise ConfigError(f"the environment variable {value} is not set")
    return found


def read_budget(whole: Mapping[str, Any], faults: Faults) -> Budget | None:
    """Return what ``[budget]`` says; None: there is none."""
    if "budget" not in whole:
        return None
    table = faults.table(whole, ("budget",), Budget.__struct_fields__)
    for key, value in table.items():
        with faults.of(("budget", key), f"{key}: "):
            table[key] = seconds_of(value) if is_time(key) else value
            converted({key: table[key]}, Budget)
    return None if len(faults) else converted(table, Budget)


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


def read_runner(whole: Mapping[str, Any], faults: Faults) -> dict[str, Any] | None:
    """Return what ``[runner]`` says, as ``AgentRuntime.code_runner`` takes it; None: there is none."""
    if "runner" not in whole:
        return None
    table = faults.table(whole, ("runner",), ("isolation", "network", "memory_mib"))
    if (level := table.get("isolation", "auto")) not in _LEVELS:
        faults.add(("runner", "isolation"), f"isolation={level!r:.80}: it must be one of {', '.join(_LEVELS)}")
    if not isinstance(table.get("network", False), bool):
        faults.add(("runner", "network"), "network must be true or false")
    memory = table.get("memory_mib", 512)
    if isinstance(memory, bool) or not isinstance(memory, (int, float)) or not 0 < memory < math.inf:
        faults.add(("runner", "memory_mib"), f"memory_mib={memory!r:.80}: it must be a number above 0")
    return table


def read_store(table: Mapping[str, Any], faults: Faults) -> str:
    """Return the URL of the store; nothing is opened."""
    given = table.get("store")
    if given is not None and not (isinstance(given, str) and given.strip()):
        faults.add(("team", "store"), "store must be a URL such as sqlite:///./auth.db, or a path")
        given = None
    url = given or os.environ.get("SHOAL_STORE") or "sqlite:///./shoal.db"
    url = url if "://" in url else f"sqlite:///{url}"
    with faults.of(("team", "store"), "store: "):
        open_store(url)
    return url


def read_server(name: str, given: object, faults: Faults) -> MCPTools | None:
    """Return the MCP server ``[mcp.NAME]``, not started; None: something is wrong with it."""
    place: Path_ = ("mcp", name)
    if not isinstance(given, dict):
        faults.add(place, f"{name} must be a table: [mcp.{name}], and its keys below it")
        return None
    before = len(faults)
    table = faults.keys(given, place, _SERVER)
    env = table.pop("env", {})
    if not isinstance(env, dict) or not all(isinstance(value, str) for value in env.values()):
        faults.add((*place, "env"), "env must be a table of texts")
        env = {}
    for variable in env:
        if is_secret(variable):
            faults.add((*place, "env"), f"env: {variable[:80]} is not written here: name it in pass_env")
    for variable in faults.texts(table.pop("pass_env", []), (*place, "pass_env")):
        with faults.of((*place, "pass_env"), "pass_env: "):
            env[variable] = read_secret(variable)
    for key in ("include", "exclude"):
        faults.texts(table.get(key, []), (*place, key))
    with faults.of((*place, "timeout"), "timeout: "):
        if "timeout" in table:
            table["timeout"] = seconds_of(table["timeout"])
    if not isinstance(table.get("approval", False), bool):
        faults.add((*place, "approval"), "approval must be true or false")
    if len(faults) > before:
        return None
    with faults.of(place):
        return MCPTools(**table, env=env)
    return None
