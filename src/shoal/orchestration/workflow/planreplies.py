"""Reading a plan in a JSON array of steps, anywhere in what the lead says."""

from __future__ import annotations

import math
from typing import Any

from shoal.orchestration.answers import sound
from shoal.orchestration.workflow.brief import WorkStep
from shoal.orchestration.workflow.expected import ExpectedOutput
from shoal.orchestration.workflow.jsontext import as_text, as_texts, values_in
from shoal.orchestration.workflow.planlines import in_one, task_type_of

__all__ = ["MOST_SECONDS", "steps_of_json"]

MOST_SECONDS = 1e9
"""Below this is every estimate: dates end in the year 9999."""


def steps_of_json(text: str) -> tuple[WorkStep, ...] | None:
    """Return the steps in the last JSON array of steps in *text*; None: there is none. Owners are as written.

    Raises ValueError with every fault of the steps.
    """
    array = _array(text)
    return None if array is None else _steps(array)


def _array(text: str) -> list[Any] | None:
    """Return the last array with a whole step in it, else the last with a part of one."""
    partial: list[Any] | None = None
    whole: list[Any] | None = None
    for array in values_in(text, "["):
        items = [item for item in array if isinstance(item, dict)]
        if any("title" in item and "owner" in item for item in items):
            whole = array
        elif any("title" in item or "owner" in item for item in items):
            partial = array
    return partial if whole is None else whole


def _steps(array: list[Any]) -> tuple[WorkStep, ...]:
    faults: list[str] = []
    steps = [_step(number, item, faults) for number, item in enumerate(array, start=1)]
    if faults:
        raise ValueError(in_one(faults))
    return tuple(step for step in steps if step is not None)


def _step(number: int, item: Any, faults: list[str]) -> WorkStep | None:
    if not isinstance(item, dict):
        faults.append(f"step {number}: {item!r:.80} is no object")
        return None
    before = len(faults)
    step_id = as_text(item.get("id")) or str(number)
    title, owner = (_needed(item, name, step_id, faults) for name in ("title", "owner"))
    expected = _expected(item.get("expected_output"), step_id, faults)
    seconds = _seconds(item.get("estimate_seconds"), step_id, faults)
    if len(faults) > before:
        return None
    return WorkStep(
        id=step_id,
        title=title,
        owner=owner,
        task_type=" ".join(as_text(item.get("task_type")).split()).lower() or task_type_of(title),
        depends_on=tuple(dict.fromkeys(as_texts(item.get("depends_on")))),
        reviews=tuple(dict.fromkeys(as_texts(item.get("reviews")))),
        requirements=as_texts(item.get("requirements")),
        expected_output=expected,
        estimate_seconds=seconds,
        task=as_text(item.get("task")),
        context=as_text(item.get("context")),
    )


def _needed(item: dict[str, Any], name: str, step_id: str, faults: list[str]) -> str:
    value = item.get(name)
    words = " ".join(sound(value).split()) if isinstance(value, str) else ""
    if not words:
        faults.append(
            f"step {step_id:.40}: {name}: missing" if value is None else f"step {step_id:.40}: {name}: no text"
        )
    return words


def _expected(value: Any, step_id: str, faults: list[str]) -> ExpectedOutput | None:
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        faults.append(f"step {step_id:.40}: expected_output: {value!r:.80} is no object of files, tests and coverage")
        return None
    try:
        return ExpectedOutput(
            files=as_texts(value.get("files")),
            tests=as_text(value.get("tests")),
            coverage=as_text(value.get("coverage")),
        )
    except ValueError as error:
        faults.append(f"step {step_id:.40}: expected_output: {error}")
        return None


def _seconds(value: Any, step_id: str, faults: list[str]) -> float | None:
    if value is None:
        return None
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 < value < MOST_SECONDS:
        faults.append(f"step {step_id:.40}: estimate_seconds: {value!r:.80} is no number of seconds above 0")
        return None
    return float(value)
