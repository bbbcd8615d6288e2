"""A coordinator takes an order through three services, one after the other. Where they run is the first argument."""

import asyncio
import sys

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent, codes

PRICES = {"apple": 0.50, "pear": 0.75}


class CoordinatorAgent(ServiceAgent):
    """Knows the way; each of the others knows its own step only."""

    def info(self) -> dict:
        return {"name": "coordinator", "type": "hybrid", "capabilities": ["coordination"]}

    async def process_request(self, payload: dict) -> dict:
        work = {**payload, "workflow_id": payload["order"]}
        for step in ("processor", "validator", "reporter"):
            try:
                work |= await self.send_request(step, work, timeout=10)
            except RequestError as error:
                raise RequestError(error.code, f"{step}: {error.message}", error.details) from error
        return {"workflow_id": work["workflow_id"], "report": work["report"]}


class ProcessorAgent(ServiceAgent):
    """Works out what the order costs."""

    def info(self) -> dict:
        return {"name": "processor", "type": "server", "capabilities": ["processing"]}

    def process_request(self, payload: dict) -> dict:
        unknown = sorted(payload["items"].keys() - PRICES.keys())
        if unknown:
            raise RequestError(codes.NOT_FOUND, f"no price for {', '.join(unknown)}", {"unknown": unknown})
        return {"total": sum(PRICES[name] * count for name, count in payload["items"].items())}


class ValidatorAgent(ServiceAgent):
    """Lets pass what is within the limit (config, default 100)."""

    def info(self) -> dict:
        return {"name": "validator", "type": "server", "capabilities": ["validation"]}

    def process_request(self, payload: dict) -> dict:
        limit = self.config.get("limit", 100)
        if payload["total"] > limit:
            raise RequestError(codes.VALIDATION_ERROR, f"{payload['total']:.2f} is above the limit of {limit}")
        return {"valid": True}


class ReporterAgent(ServiceAgent):
    """Says how it went."""

    def info(self) -> dict:
        return {"name": "reporter", "type": "server", "capabilities": ["reporting"]}

    def process_request(self, payload: dict) -> dict:
        return {"report": f"{sum(payload['items'].values())} pieces for {payload['total']:.2f}"}


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        for agent in (CoordinatorAgent, ProcessorAgent, ValidatorAgent, ReporterAgent):
            await services.start(agent, isolation=isolation)

        done = await services.request("coordinator", {"order": "order-1", "items": {"apple": 4, "pear": 2}})
        print(done["workflow_id"], done["report"])
        for record in services.records():
            print(record.name, "was asked", (await services.control(record, "status"))["requests"])

        for order, items in {"order-2": {"apple": 1, "plum": 1}, "order-3": {"pear": 500}}.items():
            try:
                await services.request("coordinator", {"order": order, "items": items})
            except RequestError as error:
                print(order, "refused by", error.message)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
