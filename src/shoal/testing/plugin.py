"""Fixtures for pytest: ``clock``, ``store_url``, ``runtime``, and ``--seed``.

Ask for it in the top ``conftest.py``: ``pytest_plugins = ["shoal.testing.plugin"]``. It is no entry point, because it
would then load in every test run of every environment with Shoal in it, with fixtures and an option nobody asked for.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from shoal.testing.clock import VirtualClock

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", default="0", help="seed of virtual clocks and shuffling: a whole number, or 'random'")


def pytest_configure(config: pytest.Config) -> None:
    word = str(config.getoption("--seed"))
    if word != "random" and not word.isdecimal():
        raise pytest.UsageError(f"--seed must be a whole number or 'random', not {word!r}")
    config.stash[_SEED] = random.SystemRandom().randrange(2**32) if word == "random" else int(word)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print the seed with a failure, so that it can be had again."""
    seed = dict(report.user_properties).get("seed")
    if report.failed and seed is not None:
        report.sections.append(("seed", f"have it again with --seed={seed}"))


@pytest.fixture
def seed(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> int:
    """The seed of this test run; printed when the test fails."""
    value = request.config.stash[_SEED]
    record_property("seed", value)
    return value


@pytest.fixture
def clock(seed: int) -> VirtualClock:
    """A virtual clock; it keeps the time of the VirtualLoop on which it is first used."""
    return VirtualClock(seed)


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """The URL of a store in a folder of this test alone."""
    return f"sqlite:///{tmp_path / 'shoal.db'}"


@pytest.fixture
def runtime(store_url: str) -> AgentRuntime:
    """A runtime on that store, not started: ``async with runtime: ...`` inside the test's own loop."""
    from shoal.runtime import AgentRuntime  # only tests that ask for it load the whole runtime

    return AgentRuntime(store=store_url)
