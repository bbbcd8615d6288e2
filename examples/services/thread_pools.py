"""Work that would hold up others runs in two pools: a small one for the processor, a large one for waiting."""

import asyncio
import time
from collections import Counter

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ThreadPoolAgent, control_action


class WorkAgent(ThreadPoolAgent):
    """Two threads for work on the processor, twenty for work that waits. Three more may wait for the two."""

    task_timeout = 2.0

    def __init__(self, config: dict | None = None) -> None:
        super().__init__({"cpu": {"min_size": 1, "max_size": 2, "max_queue": 3}, **(config or {})})

    def info(self) -> dict:
        return {"name": "work", "type": "server", "capabilities": ["work"]}

    def perform_task(self, payload: dict) -> dict:
        time.sleep(payload.get("seconds", 0))
        match payload["task_type"]:
            case "cpu_intensive":
                return {"result": sum(range(1_000_001))}
            case "io_intensive" | "network":
                return {"result": "read"}
            case other:
                raise ValueError(f"no work of type {other}")

    @control_action("pools")
    def pools(self) -> dict:
        return {pool.name: pool.stats().size for pool in (self.cpu_pool, self.io_pool)}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        await services.start(WorkAgent)

        async def work(**payload: object) -> object:
            try:
                return (await services.request("work", payload))["result"]
            except RequestError as error:
                return error.code

        print("cpu:", await work(task_type="cpu_intensive"))
        reading = [work(task_type="io_intensive", seconds=0.2) for _ in range(20)]
        print("20 that wait:", Counter(await asyncio.gather(*reading)))
        print("threads:", await services.control("work", "pools"))

        counting = [work(task_type="cpu_intensive", seconds=0.2) for _ in range(8)]
        print("8 that count:", Counter(await asyncio.gather(*counting)))
        print("too slow:", await work(task_type="network", seconds=2.5))
        print("wrong:", await work(task_type="singing"))


if __name__ == "__main__":
    asyncio.run(main())
