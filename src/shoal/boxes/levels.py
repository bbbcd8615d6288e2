"""The isolation levels by name. Each is loaded when it is first asked for."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path

from shoal.boxes.launch import Launcher
from shoal.boxes.pack import is_installed
from shoal.boxes.process import ProcessLauncher
from shoal.boxes.spec import BoxSpec
from shoal.errors import IsolationUnavailableError

__all__ = ["LEVELS", "check_level", "import_path", "launcher_for", "resolve_level"]

LEVELS = ("process", "bubblewrap", "gvisor", "microvm")
"""From the thinnest walls to the thickest."""
_LAUNCHERS = {"bubblewrap": "BubblewrapLauncher", "gvisor": "GvisorLauncher", "microvm": "MicrovmLauncher"}


def check_level(level: object, *, auto: bool = True) -> str:
    """Return *level*. Raises ValueError for what is none, or belongs to ``AgentRuntime``."""
    known = (*LEVELS, "auto") if auto else LEVELS
    if level in ("inline", "thread"):
        raise ValueError(f"isolation {level!r} is for agents of an AgentRuntime; a box is one of {', '.join(known)}")
    if not isinstance(level, str) or level not in known:
        raise ValueError(f"isolation must be one of {', '.join(known)}, not {level!r:.80}")
    return level


async def resolve_level(level: str) -> str:
    """Return the level that a box asked for by *level* really runs in: itself, or for ``auto`` the strongest that works.

    Raises IsolationUnavailableError with the reasons.
    """
    if level == "process":
        return level
    from shoal.boxes.probing import probe, strongest

    if level == "auto":
        return await strongest()
    found = (await probe(level))[level]
    if not found.works:
        raise IsolationUnavailableError(f"isolation {level!r} does not work here: {found.reason}")
    return level


@functools.cache
def launcher_for(level: str) -> Launcher:
    """Return the launcher of a level."""
    if level == "process":
        return ProcessLauncher(for_boxes=True)
    module = importlib.import_module(f"shoal.boxes.{level}")
    launcher: Launcher = getattr(module, _LAUNCHERS[level])()
    return launcher


def import_path(level: str, spec: BoxSpec) -> tuple[str, ...]:
    """Return where a box imports from: the standard library, installed packages, and what Shoal brings along."""
    if level == "process":
        path = [os.path.abspath(entry) for entry in sys.path if entry and is_installed(entry)]
        return tuple(dict.fromkeys([*path, str(Path(__file__).parents[2])]))
    from shoal.boxes.tree import import_path as path_in_box

    return path_in_box(spec)
