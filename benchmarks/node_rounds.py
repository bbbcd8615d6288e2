"""What ours and the peers' measurements of several nodes share. Standard library only."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["NODES", "WAIT_SECONDS", "marked", "marks", "on_each", "per_second_until", "until_marked"]

NODES = {"one": 1, "two": 2, "four": 4}
"""How many nodes carry out tasks, by the word in the names of the figures."""
WAIT_SECONDS = 30.0
"""What takes longer is no figure but a failure."""
_LOOK_SECONDS = 0.01


def on_each(begin: Callable[[int], object], measure: Callable[[], float]) -> dict[str, float]:
    """Begin one node after the other (by their numbers), and return what *measure* says with one, two and four."""
    figures, begun = {}, 0
    for word, nodes in NODES.items():
        while begun < nodes:
            begin(begun)
            begun += 1
        figures[f"{word}_per_s"] = measure()
    return figures


def per_second_until(ended: Callable[[], int], count: int, submit: Callable[[int], object]) -> float:
    """Submit *count* tasks of a peer that tells nobody of their ends, and look until all have ended; a tenth go before.

    Returns how many a second.
    """
    _seconds(ended, count // 10, submit)
    return count / _seconds(ended, count, submit)


def _seconds(ended: Callable[[], int], count: int, submit: Callable[[int], object]) -> float:
    before = ended()
    begun = time.perf_counter()
    submit(count)
    while (done := ended() - before) < count:
        if time.perf_counter() - begun > 2 * WAIT_SECONDS:
            raise TimeoutError(f"only {done} of {count} ended in {2 * WAIT_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter() - begun


def marked(file: str, **what: Any) -> None:
    """Add a line to a file that several processes write, with the machine's time."""
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, json.dumps({"at": time.monotonic(), **what}).encode() + b"\n")
    finally:
        os.close(handle)


def marks(file: str) -> list[dict[str, Any]]:
    """Return the lines of that file."""
    path = Path(file)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until_marked(file: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Wait for a line, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        for line in marks(file):
            if wanted(line):
                return line
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"what was waited for did not come within {WAIT_SECONDS:g} s")
