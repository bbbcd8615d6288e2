"""Whose turn it is: reviews of one work follow each other, for each may have its files changed."""

from __future__ import annotations

import msgspec

from shoal.orchestration.workflow.brief import WorkStep
from shoal.orchestration.workflow.plan import Plan

__all__ = ["reviews_in_turn"]


def reviews_in_turn(plan: Plan) -> Plan:
    """Return *plan* with each review after the ones before it that look at the same work.

    At once, both would have the same files mended, and the fix for one would be lost under that for the other.
    """
    steps = {step.id: step for step in plan.steps}
    last: dict[str, str] = {}  # the last review of each work so far
    for step_id in plan.order:
        step = steps[step_id]
        if not step.is_review:
            continue
        works = [each for each in step.reviews or step.depends_on if each in steps and not steps[each].is_review]
        before = dict.fromkeys(last[work] for work in works if work in last)
        if before:
            known = _all_before(step, steps)
            more = [each for each in before if each not in known]
            steps[step_id] = msgspec.structs.replace(step, depends_on=(*step.depends_on, *more))
        last.update(dict.fromkeys(works, step_id))
    return Plan(tuple(steps.values()))


def _all_before(step: WorkStep, steps: dict[str, WorkStep]) -> set[str]:
    found: set[str] = set()
    left = list(step.depends_on)
    while left:
        each = left.pop()
        if each not in found and each in steps:
            found.add(each)
            left += steps[each].depends_on
    return found
