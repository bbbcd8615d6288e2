"""Ask the event log what happened, and export it."""

import asyncio
import os
from datetime import datetime, timedelta

from shoal.runtime import AgentRuntime, BaseAgent, EventFilter, EventType, Severity, Task

SECOND = float(os.environ.get("SHOAL_EXAMPLE_SECOND", "1.0"))


class WorkerAgent(BaseAgent):
    async def execute_task(self, task: Task) -> dict:
        await asyncio.sleep(2 * SECOND)
        return {"processed_id": task.input_data["item_id"], "status": "done"}


async def run_some_tasks(runtime: AgentRuntime) -> None:
    for i in range(5):
        agent_id = await runtime.register_agent(name=f"worker-{i}", agent_class=WorkerAgent)
        await runtime.start_agent(agent_id)
    task_ids = [await runtime.submit_task(name=f"process-item-{i}", input_data={"item_id": i}) for i in range(20)]
    await runtime.wait_for_tasks(task_ids, timeout_seconds=60)


async def main() -> None:
    runtime = AgentRuntime(storage_path="./runtime.db")
    await runtime.start()

    # The log keeps earlier runs on the same file. Ids rise strictly, so "since now" is "after this id".
    newest = runtime.query_events(limit=1)[0]
    this_run = EventFilter(after_id=newest.event_id)

    await run_some_tasks(runtime)

    all_events = runtime.query_events(limit=100, filters=this_run)
    print(f"Total events: {len(all_events)}")

    agent_events = runtime.query_events(event_type=EventType.AGENT_STARTED, limit=50, filters=this_run)
    print(f"Agent start events: {len(agent_events)}")

    errors = runtime.query_events(severity=Severity.ERROR, limit=50, filters=this_run)
    print(f"Error events: {len(errors)}")

    recent = runtime.query_events(since=datetime.now() - timedelta(hours=1), limit=100, filters=this_run)
    print(f"Events in last hour: {len(recent)}")

    await runtime.export_events(output_path="./events.jsonl", format="jsonl", filters=this_run)
    print("Events exported to events.jsonl")

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
