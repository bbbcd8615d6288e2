"""Suites, fakes and faults for those who build on Shoal."""

from __future__ import annotations

from shoal.llm.doubles import chaos, echo, recorded, scripted

__all__ = ["chaos", "echo", "recorded", "scripted"]
