"""Tests of isolation levels: a level that cannot run here skips with the probe's reason, unless it must run."""

from __future__ import annotations

import asyncio
import os

import pytest

from shoal.boxes.probe import probe

__all__ = ["need", "unavailable"]


def unavailable(level: str, reason: str) -> None:
    """Skip the test with the reason; fail it when SHOAL_REQUIRE_LEVELS (names, separated by commas) has the level."""
    required = os.environ.get("SHOAL_REQUIRE_LEVELS", "").replace(" ", "").split(",")
    if level in required:
        pytest.fail(f"level {level} is required and does not work here: {reason}", pytrace=False)
    pytest.skip(f"level {level}: {reason}")


def need(level: str) -> None:
    """Go on only when the level works here."""
    result = asyncio.run(probe(level))[level]
    if not result.works:
        unavailable(level, result.reason)
