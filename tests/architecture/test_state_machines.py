"""The state machines are those of the specification: every pair of state and verb, allowed and refused."""

from __future__ import annotations

import re
from itertools import product

import pytest

from shoal.kernel.agent import AGENT_TRANSITIONS, AgentStatus, AgentVerb
from shoal.kernel.task import TRANSITIONS, TaskStatus
from tests.architecture.source import ROOT

AGENTS = """
stopped  start          starting
failed   start          starting
queued   start          starting
paused   start          starting
stopped  queue          queued
failed   queue          queued
queued   queue          queued
queued   stop           stopped
starting started        running
starting start_failed   failed
running  pause          paused
paused   resume         running
paused   resume_failed  failed
starting stop           stopping
running  stop           stopping
paused   stop           stopping
stopping stopped        stopped
starting died           failed
running  died           failed
paused   died           failed
stopping died           failed
starting node_lost      failed
running  node_lost      failed
stopping node_lost      failed
paused   node_lost      paused
queued   node_lost      stopped
"""
TASKS = """
-        submit                          pending
-        submit_after_failed_dependency  failed
pending  claim                           running
pending  cancel                          cancelled
pending  dependency_failed               failed
running  complete                        completed
running  retry                           pending
running  fail                            failed
running  cancel                          cancelled
running  interrupt                       pending
"""


def _table(text: str) -> dict[tuple[str, str], str]:
    rows = [line.split() for line in text.strip().splitlines()]
    return {(state, verb): to for state, verb, to in rows}


def _real_agents() -> dict[tuple[str, str], str]:
    return {(str(state), str(verb)): str(to) for (state, verb), to in AGENT_TRANSITIONS.items()}


def _real_tasks() -> dict[tuple[str, str], str]:
    return {(str(state or "-"), verb): str(to) for (state, verb), to in TRANSITIONS.items()}


@pytest.mark.spec("R23")
@pytest.mark.parametrize(("state", "verb"), list(product(AgentStatus, AgentVerb)))
def test_agent(state: AgentStatus, verb: AgentVerb) -> None:
    assert _real_agents().get((state.value, verb.value)) == _table(AGENTS).get((state.value, verb.value))


TASK_VERBS = sorted({verb for _, verb in _table(TASKS)} | {verb for _, verb in _real_tasks()})


@pytest.mark.spec("R23")
@pytest.mark.parametrize(("state", "verb"), list(product(["-", *map(str, TaskStatus)], TASK_VERBS)))
def test_task(state: str, verb: str) -> None:
    assert _real_tasks().get((state, verb)) == _table(TASKS).get((state, verb))


def test_a_final_status_never_changes() -> None:
    assert [pair for pair in TRANSITIONS if pair[0] is not None and pair[0].final] == []


def test_the_tables_of_the_architecture_page_are_the_real_ones() -> None:
    """There a table begins with a row ``| from | verb | to |`` under a heading with the word agent or task."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    tables = {}
    for heading, body in re.findall(r"^#+ ([^\n]*)\n(.*?)(?=^#+ |\Z)", page, re.M | re.S):
        rows = re.findall(r"^\| *(\S+) *\| *`?(\w+)`? *\| *(\w+) *\|$", body, re.M)
        if rows and rows[0] == ("from", "verb", "to"):
            kind = "agent" if "agent" in heading.lower() else "task"
            tables[kind] = {(state.strip("()"), verb): to for state, verb, to in rows[1:]}
    assert tables == {
        "agent": _real_agents(),
        "task": {(s.replace("-", "new"), v): t for (s, v), t in _real_tasks().items()},
    }
