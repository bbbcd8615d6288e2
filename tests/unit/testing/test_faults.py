"""Fault points: a fault strikes once, at the passing that was named."""

from __future__ import annotations

import time

import pytest

from shoal.testing.faults import Faults, SimulatedCrash


def test_a_crash_strikes_at_the_nth_passing_only() -> None:
    faults = Faults()
    faults.crash("before_commit", at=3)
    for _ in range(2):
        faults("before_commit")
        faults("after_commit")
    with pytest.raises(SimulatedCrash, match="before_commit, time 3"):
        faults("before_commit")
    faults("before_commit")
    assert faults.passed == {"before_commit": 4, "after_commit": 2}


def test_a_simulated_crash_is_no_exception_that_code_may_survive() -> None:
    assert not issubclass(SimulatedCrash, Exception)


def test_error_and_delay() -> None:
    faults = Faults()
    faults.error("write", OSError("disk full"))
    faults.delay("write", 0.02, at=2)
    with pytest.raises(OSError, match="disk full"):
        faults("write")
    begun = time.monotonic()
    faults("write")
    assert time.monotonic() - begun >= 0.02


def test_a_fault_that_could_never_strike_is_refused() -> None:
    faults = Faults()
    faults("write")
    with pytest.raises(ValueError, match="never come"):
        faults.crash("write", at=1)
    faults.crash("write", at=2)
    with pytest.raises(ValueError, match="already"):
        faults.error("write", OSError(), at=2)
