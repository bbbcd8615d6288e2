"""Who of this process holds which lock of one place, and the numbers of its locks."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.ports import Lease

if TYPE_CHECKING:
    from shoal.llm.locks.places import Place
    from shoal.llm.locks.renewal import Renewal

__all__ = ["Holding", "Ledger", "LockStats", "Owner", "describe", "present_owner"]

Owner = asyncio.Task[object] | threading.Thread
"""What can hold a lock."""


def present_owner() -> Owner:
    """Return the asyncio task that runs here, or else the thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs in this thread
        task = None
    return task or threading.current_thread()


def describe(owner: Owner) -> str:
    """Return who that is, for people on any machine."""
    if isinstance(owner, threading.Thread):
        who = f"thread {owner.name!r:.100}"
    else:
        who = f"asyncio task {owner.get_name()!r:.100}"
    return f"{who} of process {os.getpid()} on {os.uname().nodename}"


class LockStats(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to the locks of a namespace, or of all, in this process. Times are milliseconds.

    ``acquisitions`` counts outermost ones, ``contentions`` those and the time-outs that had to wait. Waits include those
    that timed out; what is held does not include waiting.
    """

    acquisitions: int = 0
    contentions: int = 0
    timeouts: int = 0
    total_wait_ms: float = 0.0
    total_held_ms: float = 0.0
    avg_wait_ms: float = 0.0
    avg_held_ms: float = 0.0


@dataclass(slots=True)
class Holding:
    """One lock that is held. ``ends`` is when its lease does (monotonic), as far as is known; ``depth`` counts entries."""

    owner: Owner
    place: Place
    lease: Lease
    since: float
    ends: float = math.inf
    renewal: Renewal | None = None
    depth: int = 1
    lost: bool = False


@dataclass(slots=True)
class _Tally:
    acquisitions: int = 0
    contentions: int = 0
    timeouts: int = 0
    releases: int = 0
    wait: float = 0.0
    held: float = 0.0


class Ledger:
    """What this process knows of the locks of one place. From any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._tallies: dict[str, _Tally] = {}
        # By identity of the owner, which the holding keeps alive, and name.
        self._holdings: dict[tuple[int, str], Holding] = {}

    def find(self, owner: Owner, name: str) -> Holding | None:
        """Return what *owner* holds of that name."""
        return self._holdings.get((id(owner), name))

    def holder(self, name: str) -> str:
        """Return who of this process has the name."""
        with self._guard:
            for (_, held), holding in self._holdings.items():
                if held == name:
                    return describe(holding.owner)
        return "nobody of this process"

    def put(self, namespace: str, holding: Holding, waited: float, contended: bool) -> None:
        """Note that a lock was taken after *waited* seconds."""
        with self._guard:
            self._holdings[id(holding.owner), holding.lease.name] = holding
            tally = self._tallies.setdefault(namespace, _Tally())
            tally.acquisitions += 1
            tally.contentions += contended
            tally.wait += waited

    def give_up(self, namespace: str, waited: float) -> None:
        """Note that one was not to be had within *waited* seconds."""
        with self._guard:
            tally = self._tallies.setdefault(namespace, _Tally())
            tally.timeouts += 1
            tally.contentions += 1
            tally.wait += waited

    def drop(self, namespace: str, holding: Holding, held: float) -> None:
        """Note that it was released after *held* seconds."""
        with self._guard:
            self._holdings.pop((id(holding.owner), holding.lease.name), None)
            tally = self._tallies.setdefault(namespace, _Tally())
            tally.releases += 1
            tally.held += held

    def stats(self, namespace: str | None) -> LockStats:
        """Return the numbers of a namespace, or of all."""
        with self._guard:
            chosen = [tally for name, tally in self._tallies.items() if namespace is None or name == namespace]
            acquisitions = sum(tally.acquisitions for tally in chosen)
            timeouts = sum(tally.timeouts for tally in chosen)
            releases = sum(tally.releases for tally in chosen)
            wait = sum(tally.wait for tally in chosen) * 1000
            held = sum(tally.held for tally in chosen) * 1000
            return LockStats(
                acquisitions=acquisitions,
                contentions=sum(tally.contentions for tally in chosen),
                timeouts=timeouts,
                total_wait_ms=wait,
                total_held_ms=held,
                avg_wait_ms=wait / (acquisitions + timeouts) if acquisitions + timeouts else 0.0,
                avg_held_ms=held / releases if releases else 0.0,
            )
