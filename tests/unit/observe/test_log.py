"""Logs carry the agent and task that they belong to; nothing is installed on import."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.errors import ConfigError
from shoal.observe.log import configure_logging
from shoal.runtime import AgentContext, AgentRuntime, Task


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    logger = logging.getLogger("shoal")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def logged(path: Path, as_json: bool) -> tuple[list[str], dict[str, str]]:
    stream = io.StringIO()
    ids: dict[str, str] = {}

    async def talk(task: Task, context: AgentContext) -> None:
        ids.update(task_id=task.task_id, agent_id=context.agent_id)
        context.logger.info("at %s", "work")
        await asyncio.to_thread(context.logger.warning, "in a thread", extra={"run_id": "r1"})

    async def main() -> None:
        async with AgentRuntime(path) as runtime:
            await runtime.register_agent("talker", talk)
            await runtime.start_agent("talker")
            (await runtime.wait_for_task(await runtime.submit_task("t"))).result()

    configure_logging("INFO", json=as_json, stream=stream)
    asyncio.run(main())
    return [line for line in stream.getvalue().splitlines() if "talker" in line], ids


def test_a_json_line_has_the_ids_of_its_invocation(tmp_path: Path) -> None:
    lines, ids = logged(tmp_path / "shoal.db", as_json=True)
    at_work, in_thread = (json.loads(line) for line in lines)
    assert at_work["message"] == "at work" and at_work["level"] == "INFO" and at_work["time"].endswith("Z")
    for line in (at_work, in_thread):
        assert (line["agent"], line["agent_id"], line["task_id"]) == ("talker", ids["agent_id"], ids["task_id"])
    assert "run_id" not in at_work and in_thread["run_id"] == "r1"


def test_a_line_for_people_names_agent_and_task(tmp_path: Path) -> None:
    lines, ids = logged(tmp_path / "shoal.db", as_json=False)
    assert f"INFO    talker task {ids['task_id']}: at work" in lines[0]
    assert f"WARNING talker task {ids['task_id']} run r1: in a thread" in lines[1]


def test_a_traceback_stays_on_its_json_line() -> None:
    stream = io.StringIO()
    configure_logging("INFO", json=True, stream=stream)
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("shoal.store").exception("two\nlines")
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert found["message"] == "two\nlines" and "KeyError" in found["traceback"] and "task_id" not in found


def test_the_second_call_replaces_the_first_and_leaves_other_handlers() -> None:
    other = logging.NullHandler()
    logging.getLogger("shoal").addHandler(other)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("INFO", stream=first)
    configure_logging("ERROR", stream=second)
    logging.getLogger("shoal.x").warning("too low")
    logging.getLogger("shoal.x").error("heard")
    assert first.getvalue() == "" and second.getvalue().count("\n") == 1
    assert other in logging.getLogger("shoal").handlers


def test_an_unknown_level_changes_nothing() -> None:
    before = list(logging.getLogger("shoal").handlers)
    with pytest.raises(ConfigError, match="log_level must be one of DEBUG"):
        configure_logging("LOUD")
    assert logging.getLogger("shoal").handlers == before


def test_nothing_is_installed_on_import() -> None:
    code = "import logging, shoal.observe.log; print(logging.getLogger('shoal').handlers, logging.root.handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] []"
