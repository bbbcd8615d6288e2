"""A task that is retried after an error tries its failed calls again, and keeps those that succeeded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal import Agent, AgentRuntime, BaseAgent, Task
from shoal.errors import ModelRejectedError
from shoal.llm import scripted
from tests.support.backend import store_at


class Careful(BaseAgent):
    """Asks two agents; the second one's model fails once."""

    async def execute_task(self, task: Task) -> dict[str, Any]:
        log = Path(task.input_data["log"])
        first = await Agent(name="A", model=scripted(["one"], log=log), retries=0).chat("a?")
        failing = scripted([_once_rejected(task.retry_count)], log=log)
        second = await Agent(name="B", model=failing, retries=0).chat("b?")
        return {"said": [first.content, second.content]}


def _once_rejected(retry: int) -> Any:
    return "two" if retry else ModelRejectedError("not now", status=400)


def test_what_failed_is_tried_again_and_what_succeeded_is_not(tmp_path: Path, run: Callable[..., Any]) -> None:
    log = tmp_path / "calls.log"

    async def main() -> None:
        async with AgentRuntime(store_at(tmp_path / "runs.db")) as runtime:
            await runtime.register_agent("careful", Careful)
            await runtime.start_agent("careful")
            task_id = await runtime.submit_task("ask", {"log": str(log)}, max_retries=1)
            task = await runtime.wait_for_task(task_id, 30)
            assert task.result() == {"said": ["one", "two"]} and task.retry_count == 1

    run(main)
    assert len(log.read_text().splitlines()) == 3
