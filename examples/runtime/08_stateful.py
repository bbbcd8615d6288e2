"""An agent whose state outlives a pause, and a crash during the pause."""

import asyncio

from shoal.runtime import AgentRuntime, BaseAgent, Task


class StatefulAgent(BaseAgent):
    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.processed_count = 0
        self.total_items = 0

    async def execute_task(self, task: Task) -> dict:
        items = task.input_data.get("items", [])
        self.total_items += len(items)
        self.processed_count += len(items)
        return {"processed": len(items), "total_count": self.processed_count}

    async def on_pause(self) -> dict:
        """Return the state; it is on disk before pause_agent returns."""
        self.context.logger.info("Saving state: %d items", self.processed_count)
        return {"processed_count": self.processed_count, "total_items": self.total_items}

    async def on_resume(self, state: dict) -> None:
        """Take up the state."""
        self.processed_count = state.get("processed_count", 0)
        self.total_items = state.get("total_items", 0)
        self.context.logger.info("Restored state: %d items", self.processed_count)


async def main() -> None:
    runtime = AgentRuntime()
    await runtime.start()
    agent_id = await runtime.register_agent("stateful-agent", StatefulAgent)
    await runtime.start_agent(agent_id)

    for i in range(3):
        task_id = await runtime.submit_task(name=f"process-batch-{i}", input_data={"items": list(range(10))})
        await runtime.wait_for_task(task_id)

    await runtime.pause_agent(agent_id)
    print("Agent paused with state saved")

    await runtime.resume_agent(agent_id)
    print("Agent resumed with state restored")

    task_id = await runtime.submit_task(name="process-batch-3", input_data={"items": list(range(5))})
    task = await runtime.wait_for_task(task_id)
    print(f"Total processed: {task.output_data['total_count']}")

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
