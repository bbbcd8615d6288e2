"""The plan of a team: steps, who does them, and what waits for what."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from heapq import heapify, heappop, heappush

import msgspec

from shoal.orchestration.answers import sound
from shoal.orchestration.workflow.brief import LEAD, WorkStep
from shoal.orchestration.workflow.planlines import in_one, owner_named, steps_of_lines
from shoal.orchestration.workflow.planreplies import MOST_SECONDS, steps_of_json

__all__ = ["Plan", "read_plan"]

MOST_ID = 40
_ID = re.compile(rf"[\w.-]{{1,{MOST_ID}}}")


class Plan(msgspec.Struct, frozen=True, dict=True):
    """Steps in the order in which they were planned.

    Args:
        steps: what is to be done. What a review names in ``reviews`` it also depends on.

    Raises:
        ValueError: something in it is no WorkStep, or two have one id.
    """

    steps: tuple[WorkStep, ...] = ()

    def __post_init__(self) -> None:
        given: object = self.steps
        if not isinstance(given, (list, tuple)) or not all(isinstance(step, WorkStep) for step in given):
            raise ValueError(f"Plan(steps={given!r:.80}): it must be a list of WorkSteps")
        msgspec.structs.force_setattr(self, "steps", tuple(map(_waiting_for_works, given)))
        seen: set[str] = set()
        for step in self.steps:
            if step.id in seen:
                raise ValueError(f"the id {step.id!r:.80} is used by two steps")
            seen.add(step.id)

    def to_text(self) -> str:
        """Return the list of steps, a line each: ``1. Analyze requirements → Need Researcher``."""
        return "\n".join(_line(number, step) for number, step in enumerate(self.steps, start=1))

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """Return the plan in the lines of *text* that have the form of ``to_text``; ``->`` counts as ``→``.

        Each step depends on the one before. Owners are as written. Raises ValueError when there is no such line, or one
        in the row has no owner.
        """
        return cls(steps_of_lines(text))

    def check(self, roles: Iterable[str], most: int) -> None:
        """Raise ValueError unless all can be done.

        Args:
            roles: who may own a step beside the lead.
            most: how many steps there may be.
        """
        if not self.steps:
            raise ValueError("the plan has no steps")
        if len(self.steps) > most:
            raise ValueError(f"the plan has {len(self.steps)} steps, the limit is {most}")
        owners = (*roles, LEAD)
        faults = [fault for step in self.steps if (fault := self._fault(step, owners))]
        if faults:
            raise ValueError(in_one(faults))
        cycle = self._cycle()
        if cycle:
            raise ValueError(f"steps wait for each other: {' -> '.join(cycle)}")

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The ids, each after those it depends on; what could come next comes as planned. Steps of a cycle are left out."""
        waiting = {step.id: sum(each in self._places for each in set(step.depends_on)) for step in self.steps}
        ready = [self._places[each] for each, count in waiting.items() if not count]
        heapify(ready)
        order: list[str] = []
        while ready:
            step_id = self.steps[heappop(ready)].id
            order.append(step_id)
            for each in self._followers[step_id]:
                waiting[each] -= 1
                if not waiting[each]:
                    heappush(ready, self._places[each])
        return tuple(order)

    def dependents(self, step_id: str) -> tuple[str, ...]:
        """Return the ids of all steps after *step_id*, also of those that wait for one of them, in the plan's order."""
        found: set[str] = set()
        ahead = [step_id]
        while ahead:
            new = [each for each in self._followers.get(ahead.pop(), ()) if each not in found]
            found.update(new)
            ahead += new
        return tuple(step.id for step in self.steps if step.id in found)

    def works_of(self, step: WorkStep, with_files: Collection[str]) -> tuple[str, ...]:
        """Return whose work a review looks at, by the ids of the steps.

        That is what it ``reviews``; else the steps that it depends on and that have handed in files; else the last step
        before it that has.

        Args:
            step: the review.
            with_files: ids of the steps that have handed in files.
        """
        if step.reviews:
            return step.reviews
        direct = tuple(each for each in step.depends_on if each in with_files)
        if direct:
            return direct
        before = self.steps[: self._places.get(step.id, len(self.steps))]
        return tuple(each.id for each in before if each.id in with_files)[-1:]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {step.id: place for place, step in enumerate(self.steps)}

    @cached_property
    def _followers(self) -> dict[str, list[str]]:
        followers: dict[str, list[str]] = {step.id: [] for step in self.steps}
        for step in self.steps:
            for each in dict.fromkeys(step.depends_on):
                if each in followers:
                    followers[each].append(step.id)
        return followers

    def _fault(self, step: WorkStep, owners: Sequence[str]) -> str:
        if not _ID.fullmatch(step.id):
            return f"step {step.id!r:.80}: an id must be a number or a word of at most {MOST_ID} letters"
        if not step.title.strip():
            return f"step {step.id}: title: missing"
        if step.owner not in owners:
            return f"step {step.id}: owner {step.owner!r:.80} is not one of {', '.join(owners)}"
        if not step.task_type.strip():
            return f"step {step.id}: task_type: missing"
        if step.estimate_seconds is not None and not 0 < step.estimate_seconds < MOST_SECONDS:
            return f"step {step.id}: estimate_seconds: {step.estimate_seconds!r:.80} is no number of seconds above 0"
        missing = [each for each in step.depends_on if each not in self._places]
        if missing:
            return f"step {step.id}: it depends on {', '.join(missing):.200}, and there is no such step"
        return ""

    def _cycle(self) -> list[str]:
        """Return the first cycle, its first id at both ends; empty: there is none."""
        done = set(self.order)
        left = [step.id for step in self.steps if step.id not in done]
        if not left:
            return []
        inside = set(left)
        steps = {step.id: step for step in self.steps}
        path: dict[str, int] = {}
        here = left[0]
        while here not in path:  # each of them waits for another one of them, or it would have been done
            path[here] = len(path)
            here = next(each for each in steps[here].depends_on if each in inside)
        cycle = list(path)[path[here] :]
        cycle.reverse()
        first = min(range(len(cycle)), key=lambda place: self._places[cycle[place]])
        return [*cycle[first:], *cycle[:first], cycle[first]]


def read_plan(text: str, roles: Collection[str], most: int) -> Plan:
    """Return the plan in *text*: the last JSON array of steps in it, else its lines in the form of ``Plan.to_text``.

    Args:
        text: what the lead said.
        roles: who may own a step, beside the lead (``self``).
        most: how many steps there may be.

    Raises:
        ValueError: why there is no plan that can be used.
    """
    text = sound(text)
    steps = steps_of_json(text)
    if steps is None:
        steps = steps_of_lines(text)
    plan = Plan(tuple(msgspec.structs.replace(step, owner=owner_named(step.owner, roles)) for step in steps))
    plan.check(roles, most)
    return plan


def _waiting_for_works(step: WorkStep) -> WorkStep:
    more = [each for each in dict.fromkeys(step.reviews) if each not in step.depends_on]
    return msgspec.structs.replace(step, depends_on=(*step.depends_on, *more)) if more else step


def _line(number: int, step: WorkStep) -> str:
    owner = f"{LEAD} (self)" if step.owner == LEAD else f"Need {step.owner}"
    return f"{number}. {' '.join(step.title.split())} → {owner}"
