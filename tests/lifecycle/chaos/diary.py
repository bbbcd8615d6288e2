"""What a node of a chaos test is told to be, and the diary that all of them write together.

What cannot be undone is added to the diary, one line, one write, before anybody else hears of it. Its times are those of
the machine's monotonic clock, whatever a node thinks the time is.
"""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

__all__ = ["STAGES", "TALLY", "Diary", "Plan"]

STAGES = 4
"""How many calls a run makes."""
TALLY = "tally "
"""Begins the keys of the shared values that tasks add to."""


class Plan(msgspec.Struct, kw_only=True):
    """What a node is.

    ``diary``: the file; ``quiet``: a file that lets it say no more when it is there; ``skew``: by how many seconds its wall
    clock is ahead; ``listeners``: the agents it talks to, its own among them.
    """

    store: str
    bus: str
    name: str
    diary: str
    quiet: str
    listeners: list[str]
    lease: float = 2.0
    skew: float = 0.0


class Diary:
    """The diary, as one writes it. ``life`` stands in each line."""

    def __init__(self, file: str, name: str = "") -> None:
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._name = name
        self.life = ""

    def note(self, kind: str, **what: Any) -> None:
        """Add a line, whole or not at all."""
        line = {"at": time.monotonic(), "kind": kind, "node": self._name, "life": self.life, **what}
        os.write(self._file, msgspec.json.encode(line) + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._file)
