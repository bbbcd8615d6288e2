"""A run as a cassette: the replies of its recorded model calls, so that it can be repeated without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from shoal.kernel.run import RunStep
from shoal.llm.cassette import Cassette, StepLine
from shoal.llm.model import ModelReply

__all__ = ["export_steps"]


def export_steps(steps: Sequence[RunStep], path: Path) -> int:
    """Add the replies of the model calls among *steps* to a cassette; return how many. Calls that failed are left out.

    Raises CassetteError: the file cannot be read or written.
    """
    counts: Counter[tuple[str, str]] = Counter()
    lines: list[StepLine] = []
    for step in steps:
        if step.kind != "model" or step.error is not None or step.finished_at is None:
            continue
        key = (step.agent_name, step.input_sha256)
        price = None if step.usage.unpriced_calls else step.usage.cost_pico
        reply = msgspec.convert(step.output, ModelReply)
        lines.append(
            StepLine(step=step.input_sha256, agent_name=step.agent_name, n=counts[key], reply=reply, price=price)
        )
        counts[key] += 1
    Cassette(path).add_steps(lines)
    return len(lines)
