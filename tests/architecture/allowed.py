"""What is larger than the limits, each with its reason. This list may only shrink."""

from __future__ import annotations

ALLOWED: dict[str, dict[str, int]] = {}
