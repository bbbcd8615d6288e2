"""A service that says what a request must look like: a bad one never reaches its code, and is told all that is wrong."""

import asyncio

import msgspec

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent


class Item(msgspec.Struct):
    name: str
    count: int


class Order(msgspec.Struct):
    customer: str
    items: list[Item]


class OrderAgent(ServiceAgent):
    """Takes orders."""

    def info(self) -> dict:
        return {"name": "orders", "type": "server", "capabilities": ["orders"], "request_schema": Order}

    def process_request(self, payload: dict) -> dict:
        order = msgspec.convert(payload, Order)
        return {"pieces": sum(item.count for item in order.items)}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        ask, service = runtime.services.request, await runtime.services.start(OrderAgent)
        print(await ask(service, {"customer": "Ada", "items": [{"name": "apple", "count": 3}]}))
        try:
            await ask(service, {"items": [{"name": "apple", "count": "three"}]})
        except RequestError as error:
            print(error.code)
            for violation in error.details:
                print(f"  {violation['path']}: {violation['message']}")


if __name__ == "__main__":
    asyncio.run(main())
