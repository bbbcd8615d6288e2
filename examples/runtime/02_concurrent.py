"""Five agents share twenty tasks."""

import asyncio
import os

from shoal.runtime import AgentRuntime, BaseAgent, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class WorkerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        await asyncio.sleep(2 * SECOND)  # the work
        return {"processed_id": task.input_data["item_id"], "status": "done"}


async def main() -> None:
    runtime = AgentRuntime()
    await runtime.start()

    agent_ids = []
    for i in range(5):
        agent_id = await runtime.register_agent(name=f"worker-{i}", agent_class=WorkerAgent)
        await runtime.start_agent(agent_id)
        agent_ids.append(agent_id)

    task_ids = []
    for i in range(20):
        task_id = await runtime.submit_task(name=f"process-item-{i}", input_data={"item_id": i})
        task_ids.append(task_id)
    print(f"Submitted {len(task_ids)} tasks to {len(agent_ids)} agents")

    results = []
    for task_id in task_ids:
        task = await runtime.wait_for_task(task_id, timeout_seconds=60)
        results.append(task.output_data)
    print(f"Processed {len(results)} tasks successfully")

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
