"""One agent, one task."""

import asyncio

from shoal.runtime import AgentRuntime, BaseAgent, Task


class HelloAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        name = task.input_data.get("name", "World")
        return {"greeting": f"Hello, {name}!"}


async def main() -> None:
    runtime = AgentRuntime(storage_path="./runtime.db")
    await runtime.start()

    agent_id = await runtime.register_agent(name="hello-agent", agent_class=HelloAgent)
    await runtime.start_agent(agent_id)

    # When submit_task returns, the task is on disk.
    task_id = await runtime.submit_task(name="greet-user", input_data={"name": "Alice"})

    task = await runtime.wait_for_task(task_id, timeout_seconds=10)
    print(task.output_data)

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
