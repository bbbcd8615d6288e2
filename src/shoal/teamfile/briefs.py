"""``[brief]``: what an orchestrator's team is told of every task, and what must be handed in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.tomlfile.faults import Faults

__all__ = ["briefed", "read_brief"]

_KEYS = ("context", "requirements", "expected_output")


def read_brief(whole: Mapping[str, Any], pattern: object, faults: Faults) -> dict[str, Any]:
    """Return what ``[brief]`` says, as JSON has it; {}: there is none, or only an orchestrator could read it."""
    if "brief" not in whole:
        return {}
    table = faults.table(whole, ("brief",), _KEYS)
    if pattern != "orchestrator":
        faults.add(("brief",), "[brief] is for an orchestrator; other patterns are told in their task")
        return {}
    from shoal.orchestration.workflow.brief import Brief
    from shoal.orchestration.workflow.expected import ExpectedOutput

    if "expected_output" in table:
        place = ("brief", "expected_output")
        expected = table.pop("expected_output")
        if not isinstance(expected, dict):
            faults.add(place, 'expected_output must be a table such as { tests = "all passing", coverage = ">80%" }')
        else:
            expected = faults.keys(expected, place, ExpectedOutput.__struct_fields__)
            for key, value in expected.items():
                with faults.of((*place, key)):
                    ExpectedOutput(**{key: value})
            table["expected_output"] = expected
    for key in ("context", "requirements"):
        if key in table:
            with faults.of(("brief", key)):
                Brief("task", **{key: table[key]})
    if isinstance(table.get("context"), str):
        table["context"] = {"notes": table["context"]}
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(table))  # TOML has dates, a journal has not
    return found


def briefed(brief: Mapping[str, Any], task: str, context: Mapping[str, Any]) -> Any:
    """Return the input of a run of an orchestrator: *task*, with *brief*, to whose context *context* is added."""
    known = {**brief.get("context", {}), **context}
    more = {key: value for key, value in {**brief, "context": known}.items() if value}
    return {"task": task, **more} if more else task
