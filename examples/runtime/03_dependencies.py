"""Priorities and dependencies: a chain of three tasks, and one that can wait."""

import asyncio
import os

from shoal.runtime import AgentRuntime, BaseAgent, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class WorkerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        await asyncio.sleep(task.input_data.get("duration", 0) * SECOND)
        return {"done": task.name}


async def main() -> None:
    runtime = AgentRuntime()
    await runtime.start()
    agent_id = await runtime.register_agent("worker", WorkerAgent)
    await runtime.start_agent(agent_id)

    task_a_id = await runtime.submit_task(
        name="download-data",
        input_data={"url": "...", "duration": 1},
        priority=0,  # the highest
    )
    task_b_id = await runtime.submit_task(
        name="process-data",
        input_data={},
        priority=50,
        dependencies=[task_a_id],
    )
    task_c_id = await runtime.submit_task(
        name="upload-results",
        input_data={},
        priority=50,
        dependencies=[task_b_id],
    )
    task_d_id = await runtime.submit_task(
        name="cleanup",
        input_data={},
        priority=100,  # the lowest
    )

    # The chain goes first: when a task completes, the next of the chain is ready in the same transaction,
    # and it has a higher priority than the cleanup.
    tasks = await runtime.wait_for_tasks([task_a_id, task_b_id, task_c_id, task_d_id], timeout_seconds=60)
    for task in sorted(tasks, key=lambda task: task.completed_at):
        print(task.name)

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
