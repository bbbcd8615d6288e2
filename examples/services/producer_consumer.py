"""A producer sends jobs to whichever consumer is there, and waits for one when there is none.

Where they run is the first argument: inline (without one), thread, process, bubblewrap or gvisor.
"""

import asyncio
import random
import sys
from datetime import UTC, datetime

from shoal.runtime import AgentRuntime
from shoal.services import AgentRecord, RequestError, ServiceAgent, codes


class ProducerAgent(ServiceAgent):
    """Makes a job every ``interval`` seconds (config, default 5)."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.jobs = 0
        self.results: list[dict] = []

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "hybrid", "capabilities": ["producer", "job_generator"]}

    async def on_start(self) -> None:
        self.producing = asyncio.create_task(self.produce())

    async def on_stop(self) -> None:
        self.producing.cancel()

    async def produce(self) -> None:
        while True:
            consumers = await self.discover_agents(["consumer"])
            if consumers:
                await self.send_job(random.choice(consumers))
            else:
                self.logger.warning("No consumers available")
            await asyncio.sleep(self.config.get("interval", 5))

    async def send_job(self, consumer: AgentRecord) -> None:
        self.jobs += 1
        job = {
            "id": f"job_{self.jobs}",
            "type": "data_processing",
            "data": [random.randrange(1000) for _ in range(100)],
            "created_at": datetime.now(UTC).isoformat(),
        }
        try:
            self.results.append(await self.send_request(consumer, job))
        except RequestError as error:
            self.logger.warning("Job %s failed: %s", job["id"], error)
        else:
            self.logger.info("Sent job %s to %s", job["id"], consumer.instance)

    async def process_request(self, payload: dict) -> dict:
        match payload.get("operation"):
            case "status":
                return {"jobs_produced": self.jobs, "results": len(self.results), "status": "running"}
            case operation:
                raise RequestError(codes.INVALID_OPERATION, f"Unknown operation: {operation}")


class ConsumerAgent(ServiceAgent):
    """Computes the mean of a job's data, in up to ``seconds`` (config, default 3)."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.processed = 0

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "server", "capabilities": ["consumer", "data_processor"]}

    async def process_request(self, payload: dict) -> dict:
        data = payload.get("data") or []
        self.logger.info("Processing job %s of type %s", payload.get("id"), payload.get("type"))
        seconds = random.uniform(0, self.config.get("seconds", 3))
        await asyncio.sleep(seconds)
        self.processed += 1
        self.logger.info("Completed job %s", payload.get("id"))
        return {
            "job_id": payload.get("id"),
            "result": sum(data) / len(data) if data else 0,
            "processing_time": seconds,
            "processed_by": self.context.name,
            "total_processed": self.processed,
        }


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        await services.start(ConsumerAgent, {"seconds": 0.05}, isolation)
        await services.start(ProducerAgent, {"interval": 0.05}, isolation)

        results = 0
        while results < 5:
            await asyncio.sleep(0.05)
            results = (await services.request("ProducerAgent", {"operation": "status"}))["results"]
        print("jobs done: at least", min(results, 5))

        job = await services.request("ConsumerAgent", {"id": "own", "data": [1, 2, 3, 6]})
        print("mean:", job["result"], "of nothing:", (await services.request("ConsumerAgent", {"data": []}))["result"])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
