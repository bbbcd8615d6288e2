"""Promises of messages: what is for keeps is heard, in order per pair, and again only by a new life of a struck one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.support.history import STRUCK, History

__all__ = ["CHECKS"]


def messages_are_heard(history: History) -> Iterator[str]:
    struck = history.lives(*STRUCK)
    heard: dict[tuple[str, str], list[str]] = defaultdict(list)
    for line in history.lines("heard"):
        heard[line.message, line.to].append(line.life)
    for (message, to), lives in heard.items():
        twice = [life for life, times in Counter(lives).items() if times > 1]
        if twice:
            yield f"message {message} was handled more than once by {to} in {twice[0]}"
        again = [life for life in lives[:-1] if life not in struck]
        if again and not twice and not history.upset():
            yield f"message {message} was handled by {to} in {again[0]}, which nobody struck, and again"
    for line in history.lines("said"):
        if line.durable and (line.message, line.to) not in heard:
            yield f"durable message {line.number} of {line.sender} to {line.to} was acknowledged and never handled"


def quiet_nodes_lose_no_message(history: History) -> Iterator[str]:
    """Plain messages are lost with a node or a server; among nodes to which nothing was done they are not."""
    if any(history.lines("server", "disk")):
        return
    disturbed = history.lives("killed", "frozen", "cut")
    names = {line.node for line in history.lines("up") if line.life in disturbed}
    heard = {(line.message, line.to) for line in history.lines("heard")}
    for line in history.lines("said"):
        quiet = not (line.durable or line.life in disturbed or line.to.removeprefix("listener-") in names)
        if quiet and (line.message, line.to) not in heard:
            yield f"message {line.number} of {line.life} to {line.to} was never handled, and nothing was done to them"


def messages_keep_their_order(history: History) -> Iterator[str]:
    """Of those that were acknowledged: one whose sender was told an error may be lost, or come late by a slow network."""
    said = {(line.message, line.to) for line in history.lines("said")}
    last: dict[tuple[str, str], int] = defaultdict(int)
    for line in history.lines("heard"):
        if (line.message, line.to) not in said:
            continue
        said.discard((line.message, line.to))  # when it comes again, its first handler was cut short
        if line.number <= last[line.sender, line.to]:
            yield f"{line.to} heard {line.number} of {line.sender} after {last[line.sender, line.to]}"
        last[line.sender, line.to] = max(line.number, last[line.sender, line.to])


CHECKS = (messages_are_heard, quiet_nodes_lose_no_message, messages_keep_their_order)
