"""What a runtime counts, as a dict and as Prometheus text."""

import asyncio
import os
from pathlib import Path

from shoal.runtime import AgentRuntime, BaseAgent, Task

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
    runtime = AgentRuntime(config={"enable_metrics": True})
    await runtime.start()

    await run_some_tasks(runtime)

    metrics = runtime.get_metrics()
    print(f"Uptime: {metrics['uptime_seconds']:.2f}s")
    print(f"Running agents: {metrics['running_agents']}")
    print(f"Completed tasks: {metrics['completed_tasks']}")
    print(f"Avg task duration: {metrics['avg_task_duration_seconds']:.2f}s")
    print(f"P95 task duration: {metrics['p95_task_duration_seconds']:.2f}s")

    # Every number is there without any extra; only the Prometheus text needs `pip install 'shoal[monitoring]'`.
    try:
        text = runtime.export_prometheus_metrics()
        print("Prometheus metrics available")
        if path := os.environ.get("PROMETHEUS_FILE"):  # for the textfile collector of node_exporter
            await asyncio.to_thread(Path(path).write_text, text)
    except RuntimeError:
        print("Monitoring extra not installed")

    await runtime.stop()


if __name__ == "__main__":
    asyncio.run(main())
