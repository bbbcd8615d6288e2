"""Ways to choose one instance among several. Each keeps only what it needs to choose the next time."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from shoal.errors import nearest
from shoal.kernel.ports import Clock
from shoal.services.info import AgentRecord

__all__ = [
    "POINTS",
    "STRATEGIES",
    "AtRandom",
    "Choose",
    "ConsistentHash",
    "Given",
    "LeastLoaded",
    "PowerOfTwo",
    "RoundRobin",
    "Strategy",
    "Wish",
    "strategy_of",
]

POINTS = 150
"""So many points has each instance on the ring of ``consistent_hash``."""

RINGS = 4
"""So many rings of ``consistent_hash`` are kept: a balancer meets few sets of instances at a time."""

MOST_GROUPS = 1_000
"""So many services and instances have turns of their own; of more, the one known longest begins anew."""

_HASHED_BYTES = 8

Strategy = Callable[[Sequence[AgentRecord], Any], AgentRecord]
"""What a user may give: chooses one of the records; the key is what the caller said, or None."""


Chance = Callable[[], Clock]
"""Returns the clock whose chance is used; asked at each choice, since a strategy may be made before its runtime."""


class Wish(msgspec.Struct, frozen=True, gc=False):
    """What is asked of a choice.

    Attributes:
        key: by which equal requests meet the same instance.
        excluded: names of instances that may not be chosen.
        group: whose turns these are, when one balancer chooses among several services.
    """

    key: Any = None
    excluded: Collection[str] = ()
    group: str = ""


class Choose(Protocol):
    """A strategy at work."""

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return one of *records*, or None when all of them are excluded."""
        ...


class _Turns:
    """Whose turn it is among the instances of one group: the next by name after the last one used.

    Joining and leaving moves nobody's turn, since the place is a name and not a number. The order is kept while the same
    instances stand there.
    """

    __slots__ = ("_last", "_names", "_order", "_sorted")

    def __init__(self) -> None:
        self._last = ""
        self._names: list[str] = []
        self._order: list[int] = []
        self._sorted: list[str] = []

    def next(self, records: Sequence[AgentRecord], admitted: Callable[[int], bool] | None = None) -> AgentRecord | None:
        """Return the next record whose place in *records* is admitted."""
        if len(records) == 1:
            return records[0] if admitted is None or admitted(0) else None
        names = [record.instance for record in records]
        if names != self._names:
            self._names = names
            self._order = sorted(range(len(names)), key=names.__getitem__)
            self._sorted = [names[place] for place in self._order]
        count = len(names)
        start = bisect_right(self._sorted, self._last)
        for at in range(start, start + count):
            place = self._order[at % count]
            if admitted is None or admitted(place):
                self._last = names[place]
                return records[place]
        return None


class RoundRobin:
    """The next after the last one used, by name."""

    def __init__(self) -> None:
        self._groups: dict[str, _Turns] = {}

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return the next one."""
        excluded = wish.excluded
        if len(records) == 1:  # there is nothing to keep for the next time: whoever asks by an id has such a group
            return None if records[0].instance in excluded else records[0]
        admitted = (lambda place: records[place].instance not in excluded) if excluded else None
        return self.turns(wish.group).next(records, admitted)

    def turns(self, group: str) -> _Turns:
        """Return the turns of *group*."""
        turns = self._groups.get(group)
        if turns is None:
            if len(self._groups) >= MOST_GROUPS:
                del self._groups[next(iter(self._groups))]
            turns = self._groups[group] = _Turns()
        return turns


class LeastLoaded:
    """The one with the least requests of our own in flight plus its reported load; equals take turns."""

    def __init__(self, in_flight: Mapping[str, int]) -> None:
        self._in_flight = in_flight
        self._turns = RoundRobin()

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return the least loaded."""
        own, excluded = self._in_flight.get, wish.excluded
        loads = [own(record.instance, 0) + record.load for record in records]
        if excluded:
            places = [place for place, record in enumerate(records) if record.instance not in excluded]
            least = min((loads[place] for place in places), default=None)
            among = {place for place in places if loads[place] == least}
            return self._turns.turns(wish.group).next(records, among.__contains__)
        least = min(loads)
        return self._turns.turns(wish.group).next(records, lambda place: loads[place] == least)


class PowerOfTwo:
    """The less loaded of two random ones (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, 2001)."""

    def __init__(self, in_flight: Mapping[str, int], chance: Chance) -> None:
        self._in_flight = in_flight
        self._chance = chance

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return the less loaded one."""
        among = _admitted(records, wish)
        if len(among) < 2:
            return among[0] if among else None
        chance = self._chance().random
        first = chance.randrange(len(among))
        second = chance.randrange(len(among) - 1)
        one, other = among[first], among[second + (second >= first)]
        return one if self._load(one) <= self._load(other) else other

    def _load(self, record: AgentRecord) -> float:
        return self._in_flight.get(record.instance, 0) + record.load


class AtRandom:
    """Any, each as likely."""

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return any."""
        among = _admitted(records, wish)
        return among[self._chance().random.randrange(len(among))] if among else None


class ConsistentHash:
    """The same key meets the same instance; one that joins or leaves moves only its own share of the keys.

    Each instance has POINTS points on a ring, and a key belongs to the next point after its own (Karger et al., Consistent
    Hashing and Random Trees, 1997).
    """

    def __init__(self) -> None:
        self._rings: dict[tuple[str, ...], tuple[list[int], list[str]]] = {}
        self._points: dict[str, list[tuple[int, str]]] = {}

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return the owner of the wish's key, or the next one on the ring that is not excluded."""
        names = [record.instance for record in records]
        hashes, owners = self._ring(tuple(names))
        start = bisect_right(hashes, _hash(msgspec.json.encode(wish.key, order="deterministic", enc_hook=str)))
        excluded = wish.excluded
        for at in range(start, start + len(hashes)):
            owner = owners[at % len(hashes)]
            if owner not in excluded:
                return records[names.index(owner)]
        return None

    def _ring(self, names: tuple[str, ...]) -> tuple[list[int], list[str]]:
        known = self._rings.get(names)
        if known is not None:
            return known
        while len(self._rings) >= RINGS:
            del self._rings[next(iter(self._rings))]
        wanted = {name for ring in (*self._rings, names) for name in ring}
        self._points = {name: self._points.get(name) or _points(name) for name in wanted}
        # Merged from the sorted points of each: sorting what is nearly sorted takes linear time.
        points = sorted(point for name in dict.fromkeys(names) for point in self._points[name])
        ring = self._rings[names] = ([place for place, _ in points], [name for _, name in points])
        return ring


def _points(name: str) -> list[tuple[int, str]]:
    return sorted((_hash(f"{name}#{number}".encode()), name) for number in range(POINTS))


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=_HASHED_BYTES).digest(), "big")


class Given:
    """A callable of the user's own."""

    def __init__(self, choose: Strategy) -> None:
        self._choose = choose

    def __call__(self, records: Sequence[AgentRecord], wish: Wish) -> AgentRecord | None:
        """Return what it chose. Raises TypeError: none of the records."""
        among = _admitted(records, wish)
        if not among:
            return None
        chosen = self._choose(among, wish.key)
        if not any(chosen is record for record in among):
            raise TypeError(f"the strategy must return one of the records it is given, not {chosen!r:.80}")
        return chosen


def _admitted(records: Sequence[AgentRecord], wish: Wish) -> Sequence[AgentRecord]:
    excluded = wish.excluded
    return [record for record in records if record.instance not in excluded] if excluded else records


STRATEGIES: dict[str, Callable[[Mapping[str, int], Chance], Choose]] = {
    "round_robin": lambda in_flight, chance: RoundRobin(),
    "least_loaded": lambda in_flight, chance: LeastLoaded(in_flight),
    "power_of_two": PowerOfTwo,
    "consistent_hash": lambda in_flight, chance: ConsistentHash(),
    "random": lambda in_flight, chance: AtRandom(chance),
}
"""By name: what makes a strategy, of our own requests in flight by instance, and a source of chance."""


def strategy_of(strategy: str | Strategy, in_flight: Mapping[str, int], chance: Chance) -> Choose:
    """Return a strategy at work.

    Args:
        strategy: a name of STRATEGIES, or a callable ``(records, key) -> record``.
        in_flight: our own requests by instance; read at each choice.
        chance: returns the clock whose chance is used.

    Raises:
        ValueError: no such strategy.
    """
    if callable(strategy):
        return Given(strategy)
    make = STRATEGIES.get(strategy) if isinstance(strategy, str) else None
    if make is None:
        hint = nearest(str(strategy), STRATEGIES)
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)} or a callable, not {strategy!r:.80}{hint}")
    return make(in_flight, chance)
