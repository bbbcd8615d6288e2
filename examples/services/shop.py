"""The services of services.toml: prices, stock, and orders that ask both."""

from typing import Any

from shoal.services import Capability, RequestError, ServiceAgent, codes


def wanted(payload: dict[str, Any], known: dict[str, Any]) -> str:
    """Return the item that is asked for."""
    item = payload.get("item")
    if item not in known:
        raise RequestError(codes.NOT_FOUND, f"there is no {item!r}", {"known": sorted(known)})
    return str(item)


class Prices(ServiceAgent):
    """Knows what things cost."""

    def info(self) -> dict[str, Any]:
        return {"name": "prices", "type": "server", "capabilities": ["prices"]}

    def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"price": self.config["prices"][wanted(payload, self.config["prices"])], "by": self.context.name}


class Stock(ServiceAgent):
    """Knows how many there are, also after it was killed."""

    left: dict[str, int] | None = None

    def info(self) -> dict[str, Any]:
        return {"name": "stock", "type": "server", "capabilities": ["stock"]}

    def on_resume(self, state: dict[str, Any]) -> None:
        self.left = state["left"]

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        left = self.left if self.left is not None else dict(self.config["stock"])
        item, number = wanted(payload, left), payload.get("number", 1)
        if number > left[item]:
            raise RequestError(codes.SERVICE_ERROR, f"only {left[item]} left of {item!r}")
        self.left = left | {item: left[item] - number}
        await self.context.checkpoint({"left": self.left})
        return {"left": self.left[item]}


class Orders(ServiceAgent):
    """Takes orders: asks for the price, and takes the things out of the stock."""

    def info(self) -> dict[str, Any]:
        return {"name": "orders", "capabilities": ["orders"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        priced = await self.send_request(Capability("prices"), payload)
        taken = await self.send_request("stock", payload)
        number = payload.get("number", 1)
        return {"item": payload["item"], "number": number, "total": number * priced["price"], "left": taken["left"]}
