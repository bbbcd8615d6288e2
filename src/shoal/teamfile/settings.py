"""Values of a team file: secrets, budgets, the runner, servers."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from shoal.errors import ConfigError
from shoal.kernel.budget import Budget
from shoal.llm.mcp import MCPTools
from shoal.tomlfile.faults import Faults, Path_, is_secret
from shoal.tomlfile.values import converted, is_time, seconds_of

__all__ = ["read_budget", "read_runner", "read_secret", "read_server"]

_LEVELS = ("auto", "microvm", "gvisor", "bubblewrap", "process")
_SERVER = ("command", "url", "env", "pass_env", "include", "exclude", "timeout", "approval")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")


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
