"""What came of the attacks: each batch is run once for each user and level, and looked at by many tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.procfs import all_stats
from tests.lifecycle.boxes.conftest import as_user
from tests.support.levels import need
from tests.support.otheruser import OtherUser

PACKAGE = "tests.lifecycle.boxes.attacks"
SECONDS = 1800 if os.environ.get("SHOAL_LONG") == "full" else 90
Report = dict[str, Any]
Place = tuple[str, str]
"""A user and a level."""
Attacked = Callable[..., Report]


def places(this: Iterable[str], another: Iterable[str] = (), *, long: Iterable[Place] = ()) -> list[Any]:
    """Return where attacks are made: the levels as this user and as the other one; *long* in the long rounds alone."""
    always = [*(("this user", level) for level in this), *(("another user", level) for level in another)]
    found = [pytest.param(place, id=" ".join(place)) for place in always]
    if os.environ.get("SHOAL_LONG") == "full":
        found += [pytest.param(place, id=" ".join(place), marks=pytest.mark.long) for place in long]
    return found


@pytest.fixture(scope="session")
def reports() -> dict[tuple[str, ...], Report]:
    return {}


@pytest.fixture
def attacked(another: OtherUser | str, reports: dict[tuple[str, ...], Report]) -> Attacked:
    """``attacked(place, module, *args)``: what the module says, run in mount and host-name namespaces around it.

    The host's mounts, name and core pattern, and who runs there, must be afterwards as before.
    """

    def attack(place: Place, module: str, *args: str) -> Report:
        name, level = place
        key = (name, module, level, *args)
        if key not in reports:
            user = as_user(name, another)
            if level == "microvm":
                need(level)  # and builds what machines start from
            else:
                user.need(level)
            before = host_facts()
            command = user.module(f"{PACKAGE}.{module}", level, *args, apart=True)
            reports[key] = user.hear(command, {"SHOAL_TEST_MARKER": "secret"}, SECONDS)
            assert host_facts() == before
        return reports[key]

    return attack


def host_facts() -> tuple[str, str, list[str], list[int]]:
    """What no attack may change."""
    mounts = sorted(Path("/proc/self/mounts").read_text().splitlines())
    below = [stat.pid for stat in all_stats() if stat.parent == os.getpid() and stat.state not in "ZX"]
    return Path("/proc/sys/kernel/core_pattern").read_text(), os.uname().nodename, mounts, below
