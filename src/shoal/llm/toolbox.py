"""The tools of one agent: checked once, told to the model, run when it asks."""

from __future__ import annotations

__all__ = ["Toolbox"]
