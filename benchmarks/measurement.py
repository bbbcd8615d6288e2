"""What a measurement is: who is measured with which arguments, and what is asked of the figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

OURS = "shoal"


@dataclass(frozen=True)
class Entry:
    """One contestant: ``function`` is ``module:name``, called with ``arguments`` in a process of its own."""

    who: str
    function: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    note: str = ""

    @property
    def ours(self) -> bool:
        """Tell whether it runs Shoal, and so in Shoal's environment."""
        return not self.function.startswith("benchmarks.peers.")


@dataclass(frozen=True)
class Bound:
    """What is asked of one of our figures: a plain bound, or *times* the figure of the peer *against*, and *plus*."""

    figure: str
    grade: Literal["floor", "goal"]
    most: float | None = None
    least: float | None = None
    against: str | None = None
    of: str = OURS
    plus: float = 0.0

    def limit(self, peers: Mapping[str, Mapping[str, float]]) -> tuple[float | None, float | None]:
        """Return (at least, at most) as numbers; both None when the peer has no figure."""
        if self.against is None:
            return self.least, self.most
        theirs = peers.get(self.against, {}).get(self.figure)
        if theirs is None:
            return None, None
        least, most = ((None if times is None else times * theirs + self.plus) for times in (self.least, self.most))
        return least, most

    def __str__(self) -> str:
        sign, value = ("≥", self.least) if self.least is not None else ("≤", self.most)
        times = f" × {self.against}" if self.against else ""
        plus = f" + {self.plus:g}" if self.plus else ""
        return f"{sign} {value:,g}{times}{plus}"


@dataclass(frozen=True)
class Measurement:
    """One row of the budgets. ``figures`` maps the names that the functions return to how a person calls them."""

    name: str
    what: str
    figures: Mapping[str, str]
    entries: tuple[Entry, ...]
    bounds: tuple[Bound, ...] = ()
    quick: Mapping[str, object] = field(default_factory=dict)  # arguments for ``--quick``
    runs: int | None = None  # when it is slow: fewer than the rest
    timeout_seconds: float = 180.0
