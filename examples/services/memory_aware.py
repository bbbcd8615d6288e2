"""A service that takes large data in pieces, and looks after its memory."""

import asyncio

from shoal.runtime import AgentRuntime
from shoal.services import MemoryAwareAgent


class MeanAgent(MemoryAwareAgent):
    """Computes means: of up to 10,000 numbers at once, of more in chunks of 1,000."""

    memory_check_interval = 2

    def info(self) -> dict:
        return {"name": "mean", "type": "server", "capabilities": ["statistics"]}

    def process_small_data(self, data: list[float]) -> dict:
        return {"mean": sum(data) / len(data) if data else 0, "chunks": 0}

    def process_chunk(self, chunk: list[float], state: tuple | None) -> tuple:
        total, count, chunks = state or (0, 0, 0)
        return total + sum(chunk), count + len(chunk), chunks + 1

    def finish(self, state: tuple) -> dict:
        total, count, chunks = state
        return {"mean": total / count, "chunks": chunks}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        await runtime.services.start(MeanAgent, {"memory_limit_mb": 1})  # so low that it warns
        for size in (0, 5, 10_000, 10_001):
            print(size, "numbers:", await runtime.services.request("mean", {"data": list(range(size))}))


if __name__ == "__main__":
    asyncio.run(main())
