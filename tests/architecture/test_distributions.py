"""The core stays small: at most twelve installed distributions beside shoal, extras not counted."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement

MOST = 12


def _needed(name: str, seen: set[str]) -> set[str]:
    try:
        wanted = requires(name) or []
    except PackageNotFoundError:  # for another platform or Python
        return seen
    for text in wanted:
        requirement = Requirement(text)
        other = requirement.name.lower().replace("_", "-")
        if other not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            seen.add(other)
            _needed(other, seen)
    return seen


def test_the_core_needs_few_distributions() -> None:
    needed = _needed("shoal", set())
    assert {"msgspec", "apsw", "cloudpickle", "typer", "rich"} <= needed
    assert len(needed) <= MOST, sorted(needed)
