"""Models without a provider: for tests, examples and dry runs. No extra is needed."""

from __future__ import annotations

from shoal.llm.mishaps import chaos
from shoal.llm.recording import recorded
from shoal.llm.script import echo, scripted, scripted_file

__all__ = ["chaos", "echo", "recorded", "scripted", "scripted_file"]
