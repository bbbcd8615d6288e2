"""What a run used, by agent and model, and in all."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.kernel.run import RunStep
from shoal.kernel.usage import Usage

__all__ = ["cost_rows", "money", "used"]


def cost_rows(steps: Sequence[RunStep]) -> list[tuple[object, ...]]:
    """Return what was used by agent and model, and in all."""
    found: dict[tuple[str, str], Usage] = {}
    for step in steps:
        if step.usage.calls:
            model = step.output.get("model", "") if isinstance(step.output, dict) else ""
            key = (step.agent_name, str(model))
            found[key] = found.get(key, Usage()) + step.usage
    rows = [(*key, *used(usage)) for key, usage in sorted(found.items())]
    if len(rows) > 1:
        rows.append(("all", "", *used(sum(found.values(), start=Usage()))))
    return rows


def used(usage: Usage) -> tuple[object, ...]:
    """Return calls, tokens in and out, and the cost, as cells of a table."""
    return usage.calls, usage.input_tokens, usage.output_tokens, money(usage)


def money(usage: Usage) -> str:
    """Return a cost for people; a + says that some calls have no known price."""
    return f"${usage.cost:.6f}{'+' if usage.unpriced_calls else ''}"
