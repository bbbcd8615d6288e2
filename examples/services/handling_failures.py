"""What to do about a service that refuses, fails, is slow or gone: a time limit, a circuit breaker, a fallback."""

import asyncio

from shoal.runtime import AgentRuntime
from shoal.services import CircuitBreaker, LoadBalancer, RequestError, ServiceAgent, codes, control_action

WILL_PASS = {codes.TIMEOUT, codes.AGENT_DIED, codes.EXECUTION_ERROR, codes.CIRCUIT_OPEN, codes.NOT_FOUND}


class SupplierAgent(ServiceAgent):
    """Knows prices, when it is well."""

    concurrency = 10
    state = "well"

    def info(self) -> dict:
        return {"name": "supplier", "type": "server", "capabilities": ["prices"]}

    @control_action("be")
    def be(self, state: str) -> None:
        self.state = state

    async def process_request(self, payload: dict) -> dict:
        if self.state == "broken":
            raise ConnectionError("the database is down")
        if self.state == "slow":
            await asyncio.sleep(2)
        if payload["article"] != "apple":
            raise RequestError("UNKNOWN_ARTICLE", f"there is no {payload['article']}")
        return {"price": 0.5}


class ShopAgent(ServiceAgent):
    """Asks its supplier, and falls back on the last price that it heard."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.prices: dict[str, float] = {}
        self.supplier = LoadBalancer(self, breaker=lambda: CircuitBreaker(failure_threshold=3, recovery_timeout=1))

    def info(self) -> dict:
        return {"name": "shop", "type": "hybrid", "capabilities": ["shop"]}

    async def process_request(self, payload: dict) -> dict:
        article = payload["article"]
        try:
            reply = await self.supplier.call("supplier", {"article": article}, timeout=0.5)
        except RequestError as error:
            if error.code not in WILL_PASS or article not in self.prices:
                raise  # the supplier's own answer, or nothing to fall back on
            return {"price": self.prices[article], "heard": f"as of the last time ({error.code})"}
        self.prices[article] = reply.data["price"]
        return {"price": reply.data["price"], "heard": "as of now"}


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        supplier = await services.start(SupplierAgent)
        await services.start(ShopAgent)

        async def ask(article: str) -> None:
            try:
                answer = await services.request("shop", {"article": article})
                print(f"  {article}: {answer['price']:.2f}, {answer['heard']}")
            except RequestError as error:
                print(f"  {article}: {error.code}: {error.message}")

        print("well")
        await ask("apple")
        await ask("phoenix")

        print("slow")
        await services.control("supplier", "be", "slow")
        await ask("apple")

        print("broken")
        await services.control("supplier", "be", "broken")
        for _ in range(3):
            await ask("apple")

        print("well again")
        await services.control("supplier", "be", "well")
        await ask("apple")
        await asyncio.sleep(1.1)  # after recovery_timeout one request may try
        await ask("apple")

        print("gone")
        await services.stop(supplier.instance)
        await ask("apple")


if __name__ == "__main__":
    asyncio.run(main())
