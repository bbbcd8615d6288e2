"""Start, pause, resume and stop an agent in the middle of a long task."""

import asyncio
import os
import time

from shoal.runtime import AgentRuntime, BaseAgent, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class WorkerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        count, longest_gap = 0, 0.0
        counted_at = time.monotonic()
        while count < 2 * task.input_data.get("duration", 0):
            await asyncio.sleep(SECOND / 2)
            count += 1
            now = time.monotonic()
            longest_gap, counted_at = max(longest_gap, now - counted_at), now
        return {"count": count, "longest_gap": longest_gap}  # the gap is the pause: the count stood still in it


async def main() -> None:
    runtime = AgentRuntime()
    await runtime.start()
    agent_id = await runtime.register_agent("worker", WorkerAgent)

    await runtime.start_agent(agent_id)
    status = runtime.get_agent_status(agent_id)
    print(f"Agent status: {status.status}")

    task_id = await runtime.submit_task(name="long-task", input_data={"duration": 60})

    await asyncio.sleep(5 * SECOND)
    await runtime.pause_agent(agent_id)
    print("Agent paused")

    await asyncio.sleep(10 * SECOND)
    await runtime.resume_agent(agent_id)
    print("Agent resumed")

    await runtime.wait_for_task(task_id, timeout_seconds=120)

    await runtime.stop_agent(agent_id, graceful=True)
    print("Agent stopped")

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
