"""The gate of the runtime around this code: what a rate limit holds back there, it holds back for all of its agents."""

from __future__ import annotations

from shoal.kernel.ambient import current_ambient
from shoal.llm.retrying import Gate

__all__ = ["present_gate"]

_NAME = "model_gate"


def present_gate() -> Gate | None:
    """Return it; None outside of a runtime, where every agent has its own."""
    ambient = current_ambient.get()
    if ambient is None:
        return None
    gate: Gate = ambient.shared.setdefault(_NAME, Gate())
    return gate
