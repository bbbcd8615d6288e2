"""Promises of what one has at a time: a lock, an agent that lives once, a lease that a node cut off lets go by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.support.history import History, Line

__all__ = ["CHECKS"]

EFFECTS = ("begin", "tick", "step", "call", "took", "counted")
LATE_SECONDS = 0.5
"""What a busy machine may hold up between the look at the lease and the effect."""


def one_holds_a_lock(history: History) -> Iterator[str]:
    """Tokens rise, and who knew that he held it to the end held it alone. Who was disturbed may have lost it."""
    frozen = history.lives("frozen")
    held: dict[int, Line] = {}
    last = 0
    for line in history.lines("took", "gave"):
        if line.kind == "gave":
            if line.token not in held:
                yield f"token {line.token} was given back and never taken"
            elif line.token != last:
                yield f"{line.life} held token {line.token} while {held[last].life} held token {last}"
            continue
        if line.token <= last and line.life not in frozen:
            yield f"token {line.token} came after {last}"
        held[line.token] = line
        last = max(last, line.token)
    given = {line.token for line in history.lines("gave")}
    disturbed = history.lives("killed", "frozen", "cut")
    if not any(history.lines("server", "disk")):
        lost = [line for token, line in held.items() if token not in given and line.life not in disturbed]
        yield from (f"{line.life} lost the lock of token {line.token}, and nothing was done to it" for line in lost)


def one_keeper_lives(history: History) -> Iterator[str]:
    """Once it works on one node, it does nothing more on another, but the one thing that a frozen node was about to do."""
    kept = {line.task for line in history.lines("begin") if line.work == "kept"}
    frozen = history.lives("frozen")
    over: set[str] = set()
    late: Counter[str] = Counter()
    present = ""
    for line in history.lines("begin", "tick"):
        if line.task not in kept:
            continue
        if line.life in over:
            late[line.life] += 1
            if line.life not in frozen or late[line.life] > 1:
                yield f"the keeper of {line.life} did something after that of {present} had begun"
        elif line.life != present:
            over.add(present)
            present = line.life


def the_cut_off_stop(history: History) -> Iterator[str]:
    """A node that cannot renew its lease does nothing more when it ends, whatever the others know by then."""
    cut: dict[str, float] = {}
    for line in history.diary:
        if line.kind == "cut" and line.key == "store":
            cut[line.life] = line.at
        elif line.kind == "healed" and line.key == "store":
            cut.pop(line.life, None)
        elif line.kind in EFFECTS and line.at > cut.get(line.life, line.at) + history.lease + LATE_SECONDS:
            late = line.at - cut[line.life]
            yield f"{line.kind} in {line.life} {late:.1f} s after it was cut off, with a lease of {history.lease:g} s"


CHECKS = (one_holds_a_lock, one_keeper_lives, the_cut_off_stop)
