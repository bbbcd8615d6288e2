"""Nodes in processes of their own, on one store, and the history that they write together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tests.support.processes import Script, script

__all__ = ["Fleet", "begun"]

_NODE = Path(__file__).parents[1] / "lifecycle" / "nodes" / "working_node.py"


class Fleet:
    """Where the nodes of a test meet."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store = store
        self.bus = os.environ.get("SHOAL_BUS")
        self._history = folder / "history"

    @contextmanager
    def node(self, name: str, **plan: Any) -> Iterator[Script]:
        """Run a node, which has said that it is ready (``working_node.py: Plan``)."""
        given = {"store": self.store, "bus": self.bus, "name": name, "history": str(self._history), **plan}
        with script(_NODE, msgspec.json.encode(given).decode()) as running:
            running.hear()
            yield running

    def history(self) -> list[dict[str, Any]]:
        """Return what the nodes have noted, in order."""
        if not self._history.exists():
            return []
        return [msgspec.json.decode(line) for line in self._history.read_bytes().splitlines()]


def begun(history: list[dict[str, Any]]) -> dict[Any, list[str]]:
    """Return for each piece of work the nodes that began it, in order."""
    found: dict[Any, list[str]] = {}
    for line in history:
        if "begin" in line:
            found.setdefault(line["begin"], []).append(line["node"])
    return found
