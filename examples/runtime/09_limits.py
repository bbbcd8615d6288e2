"""Resource limits: ten agents, five places. A queued agent starts when a place is free.

The memory limit makes each agent a process of its own, because only a process can be held to one.
"""

import asyncio
import os

from shoal.runtime import AgentRuntime, BaseAgent, EventFilter, EventType, ResourceLimit, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class WorkerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        await asyncio.sleep(task.input_data.get("duration", 0) * SECOND)
        return {"status": "done"}


async def main() -> None:
    limits = ResourceLimit(
        limit_id="custom-limits",
        name="custom",
        max_concurrent_agents=5,
        max_memory_per_agent_mb=256,
        max_task_queue_size=100,  # pending tasks
        message_queue_max_size=500,
        task_timeout_seconds=300,
    )
    runtime = AgentRuntime(storage_path="./runtime.db", resource_limits=limits)
    await runtime.start()

    before = runtime.query_events(limit=1)[0]
    agent_ids = []
    for i in range(10):
        agent_id = await runtime.register_agent(f"worker-{i}", WorkerAgent)
        try:
            await runtime.start_agent(agent_id)
            print(f"Started agent {i}")
        except RuntimeError as e:
            print(f"Agent {i} queued: {e}")
        agent_ids.append(agent_id)

    # Two agents go, the first two of the queue take their places.
    for i in (0, 1):
        await runtime.stop_agent(agent_ids[i])
        print(f"Stopped agent {i}")
    started = EventFilter(event_type=EventType.AGENT_STARTED)
    async for event in runtime.follow_events(after_id=before.event_id, filters=started):
        number = agent_ids.index(event.agent_id)
        if number in (5, 6):
            print(f"Agent {number} runs now")
        if number == 6:
            break

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
