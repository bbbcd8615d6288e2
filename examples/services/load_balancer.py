"""A load balancer in front of workers that join and drain.

Where they run is the first argument: inline (without one), thread, process, bubblewrap or gvisor.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime

from shoal.runtime import AgentRuntime
from shoal.services import LoadBalancerAgent, RequestError, ServiceAgent, codes


class WorkerAgent(ServiceAgent):
    """Does work of several kinds."""

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "server", "capabilities": ["worker", "processing"]}

    def process_request(self, payload: dict) -> dict:
        task_type, data = payload.get("task_type"), payload.get("data")
        match task_type:
            case "cpu_intensive":
                result: object = sum(range(1, 1001))
            case "io_intensive":
                with tempfile.TemporaryFile("w+") as file:
                    result = f"{file.write(str(data))} characters written"
            case "memory_intensive":
                result = len(bytearray(100_000))
            case None:
                result = f"Processed: {data}"
            case _:
                raise RequestError(codes.INVALID_OPERATION, f"Unknown task type: {task_type}")
        return {
            "result": result,
            "worker_id": self.context.name,
            "task_type": task_type,
            "processed_at": datetime.now(UTC).isoformat(),
        }


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        await services.start(LoadBalancerAgent, {"capability": "worker"}, isolation)

        async def shares(requests: int) -> list[int]:
            await asyncio.sleep(0.5)  # who has joined or left is known in every process within a moment
            asked = [services.request("LoadBalancerAgent", {"data": n}) for n in range(requests)]
            return sorted(Counter(answer["worker"] for answer in await asyncio.gather(*asked)).values())

        try:
            await shares(1)
        except RequestError as error:
            print("before:", error.code)

        workers = [await services.start(WorkerAgent, isolation=isolation) for _ in range(3)]
        print("three workers:", await shares(30))

        await services.start(WorkerAgent, isolation=isolation)
        print("one joined:", await shares(40))

        for worker in workers[:2]:
            await services.stop(worker.instance)
        print("two drained:", await shares(40))

        for task_type in ("cpu_intensive", "io_intensive", "memory_intensive"):
            answer = await services.request("LoadBalancerAgent", {"task_type": task_type, "data": "x" * 100})
            print(f"{task_type}:", answer["result"], "by way of", answer["routed_by"])
        try:
            await services.request("LoadBalancerAgent", {"task_type": "impossible"})
        except RequestError as error:
            print("refused:", error.code, error.details["code"])

        stats = await services.control("LoadBalancerAgent", "stats")
        print("requests of", len(stats), "workers:", sum(each["requests"] for each in stats.values()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
