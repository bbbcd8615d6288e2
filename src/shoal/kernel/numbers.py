"""What a node counts, since its start."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque

import msgspec

__all__ = ["BOUNDS", "Histogram", "Numbers"]

SAMPLES = 1000
"""How many of the newest samples means and percentiles are taken from."""

BOUNDS = (*(float(f"{digit}e{power}") for power in range(-3, 4) for digit in (1, 2.5, 5)), 1e4)
"""The upper bounds of a histogram's buckets, each included, in the unit of what is observed; a last bucket has none."""


class Histogram(msgspec.Struct, frozen=True):
    """All samples since the start: how many lie in each bucket of ``BOUNDS`` and above, their number and sum."""

    buckets: tuple[int, ...]
    number: int
    total: float


class _Samples:
    __slots__ = ("buckets", "newest", "number", "total")

    def __init__(self) -> None:
        self.newest: deque[float] = deque(maxlen=SAMPLES)
        self.number = 0
        self.total = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)


class Numbers:
    """Counters and samples. ``count`` and ``observe`` may be called from any thread."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._samples: dict[str, _Samples] = {}
        self._lock = threading.Lock()

    def count(self, name: str, n: float = 1) -> None:
        """Add *n* to a counter."""
        with self._lock:
            self.counters[name] += n  # type: ignore[assignment]  # a Counter holds floats as well

    def observe(self, name: str, value: float) -> None:
        """Keep a sample."""
        with self._lock:
            samples = self._samples.get(name)
            if samples is None:
                samples = self._samples[name] = _Samples()
            samples.newest.append(value)
            samples.number += 1
            samples.total += value
            samples.buckets[bisect_left(BOUNDS, value)] += 1

    @property
    def observed(self) -> list[str]:
        """The names of which there are samples."""
        with self._lock:
            return list(self._samples)

    def histogram(self, name: str) -> Histogram:
        """Return the samples of *name* by bucket, empty when there is none."""
        with self._lock:
            samples = self._samples.get(name) or _Samples()
            return Histogram(tuple(samples.buckets), samples.number, samples.total)

    def mean(self, name: str) -> float:
        """Return the mean of all samples since the start, 0 when there is none."""
        with self._lock:
            samples = self._samples.get(name)
            return samples.total / samples.number if samples else 0.0

    def percentile(self, name: str, share: float) -> float:
        """Return the value below which *share* of the newest samples lie (nearest rank), 0 when there is none."""
        with self._lock:
            samples = self._samples.get(name)
            ordered = sorted(samples.newest) if samples else []
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
