"""What came of the attacks: each batch is run once for each user and level, and looked at by many tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.procfs import all_stats
from tests.lifecycle.boxes.conftest import User

PACKAGE = "tests.lifecycle.boxes.attacks"
SECONDS = 1800 if os.environ.get("SHOAL_LONG") == "full" else 90
Report = dict[str, Any]
Attacked = Callable[..., Report]


@pytest.fixture(scope="session")
def reports() -> dict[tuple[str, ...], Report]:
    return {}


@pytest.fixture
def attacked(user: User, reports: dict[tuple[str, ...], Report]) -> Attacked:
    """``attacked(module, level, *args)``: what the module says, run in mount and host-name namespaces around it.

    The host's mounts, name and core pattern, and who runs there, must be afterwards as before.
    """

    def attack(module: str, level: str, *args: str) -> Report:
        key = (user.name, module, level, *args)
        if key not in reports:
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
