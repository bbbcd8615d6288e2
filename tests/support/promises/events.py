"""Promises of events: their ids rise, and who follows them sees each, once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.support.history import History

__all__ = ["CHECKS"]


def events_are_seen_once(history: History) -> Iterator[str]:
    ids = [event.event_id for event in history.events]
    for what, numbers in (("the store", ids), ("the follower", history.followed)):
        for one, two in itertools.pairwise(numbers):
            if two <= one:
                yield f"event {two} comes after {one} in what {what} tells"
    missed = sorted(set(ids) - set(history.followed))
    made_up = sorted(set(history.followed) - set(ids))
    if missed:
        yield f"the follower missed {len(missed)} events, the first is {missed[0]}"
    if made_up:
        yield f"the follower saw {len(made_up)} events that are not there, the first is {made_up[0]}"


CHECKS = (events_are_seen_once,)
