"""Suites, fakes and faults for those who build on Shoal."""

from __future__ import annotations

from shoal.llm.doubles import chaos, echo, recorded, scripted
from shoal.testing.kills import kill_at, kill_at_nth

__all__ = ["chaos", "echo", "kill_at", "kill_at_nth", "recorded", "scripted"]
