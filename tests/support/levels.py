"""Tests of isolation levels: a level that cannot run here skips with the probe's reason, unless it must run."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from shoal.boxes.probing import probe
from shoal.boxes.vmimage import BUILD_COMMAND, build_image
from shoal.errors import IsolationUnavailableError

__all__ = ["chosen", "need", "unavailable"]


def unavailable(level: str, reason: str) -> None:
    """Skip the test with the reason; fail it when SHOAL_REQUIRE_LEVELS (names, separated by commas) has the level."""
    required = os.environ.get("SHOAL_REQUIRE_LEVELS", "").replace(" ", "").split(",")
    if level in required:
        pytest.fail(f"level {level} is required and does not work here: {reason}", pytrace=False)
    pytest.skip(f"level {level}: {reason}")


def chosen(*levels: str, long: tuple[str, ...] = ()) -> list[Any]:
    """Return the levels of a test as parameters: *levels* always, those of *long* in the long rounds alone."""
    beside = long if os.environ.get("SHOAL_LONG") == "full" else ()
    return [*levels, *(pytest.param(level, marks=pytest.mark.long) for level in beside)]


def need(level: str) -> None:
    """Go on only when the level works here. What machines start from is built when it is missing."""
    result = asyncio.run(probe(level))[level]
    if not result.works and BUILD_COMMAND in result.reason:
        try:
            build_image()
        except IsolationUnavailableError as error:
            unavailable(level, str(error))
        result = asyncio.run(probe(level, fresh=True))[level]
    if not result.works:
        unavailable(level, result.reason)
