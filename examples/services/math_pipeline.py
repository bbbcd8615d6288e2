"""One number goes to three services at once; a fourth puts their answers together. Where they run is the first argument."""

import asyncio
import sys

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent, codes


class MathAgent(ServiceAgent):
    """A service that does one thing to a number."""

    name: str

    def info(self) -> dict:
        return {"name": self.name, "type": "server", "capabilities": ["math"]}

    def process_request(self, payload: dict) -> dict:
        number = payload.get("number")
        if not isinstance(number, (int, float)):
            raise RequestError(codes.VALIDATION_ERROR, f"number must be a number, not {number!r}")
        return {
            "calculation_id": payload["calculation_id"],
            "operation": self.name,
            "result": self.calculate(number),
        }

    def calculate(self, number: float) -> float:
        raise NotImplementedError


class SquareAgent(MathAgent):
    name = "square"

    def calculate(self, number: float) -> float:
        return number**2


class DoubleAgent(MathAgent):
    name = "double"

    def calculate(self, number: float) -> float:
        return number * 2


class IncrementAgent(MathAgent):
    name = "increment"

    def calculate(self, number: float) -> float:
        return number + 1


class AggregatorAgent(ServiceAgent):
    """Asks whoever can do something to a number, each once, and adds up the results."""

    def info(self) -> dict:
        return {"name": "aggregator", "type": "hybrid", "capabilities": ["aggregation"]}

    async def process_request(self, payload: dict) -> dict:
        operations = await self.discover_agents(["math"])
        answers = await asyncio.gather(*(self.send_request(each, payload) for each in operations))
        return {
            "calculation_id": payload["calculation_id"],
            "answers": answers,
            "total": sum(answer["result"] for answer in answers),
        }


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        for agent in (SquareAgent, DoubleAgent, IncrementAgent, AggregatorAgent):
            await services.start(agent, isolation=isolation)

        aggregate = await services.request("aggregator", {"calculation_id": "calc-1", "number": 7})
        for answer in aggregate["answers"]:
            print(answer["calculation_id"], answer["operation"], answer["result"])
        print(aggregate["calculation_id"], "total", aggregate["total"])

        for record in services.records():
            print(record.name, "was asked", (await services.control(record, "status"))["requests"])

        try:
            await services.request("aggregator", {"calculation_id": "calc-2", "number": "seven"})
        except RequestError as error:
            print("refused:", error.code, error.message)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
