"""Patterns: agents in parallel, in line, planned, in debate, in teams; over anything that can ``chat``."""

from __future__ import annotations

from shoal.orchestration.agents import as_agent
from shoal.orchestration.calling import call
from shoal.orchestration.pipeline import Pipeline

__all__ = ["Pipeline", "as_agent", "call"]
