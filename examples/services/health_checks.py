"""A monitor asks three services how they are, and sends a warning for the one that failed."""

import asyncio

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent, control_action


class StoreAgent(ServiceAgent):
    """A service that is well as long as its connection is. Its monitor may control it."""

    connected = True

    def info(self) -> dict:
        return {
            "name": self.config["name"],
            "type": "server",
            "capabilities": ["store"],
            "control_from": ["MonitorAgent"],
        }

    def process_request(self, payload: dict) -> dict:
        return {"value": payload.get("key")}

    def health(self) -> dict:
        return {"ok": self.connected, "reason": "" if self.connected else "no connection"}

    @control_action("disconnect")
    def disconnect(self) -> str:
        self.connected = False
        return "Disconnected"


class AlertAgent(ServiceAgent):
    """Shows what it is told."""

    def info(self) -> dict:
        return {"name": "AlertAgent", "type": "server", "capabilities": ["alerts"]}

    def process_request(self, payload: dict) -> dict:
        print(f"{payload['level'].upper()}: {payload['service']}: {payload['reason']}")
        return {"status": "shown"}


class MonitorAgent(ServiceAgent):
    """Asks all services of a capability for their health, also those that are known to be ill."""

    def info(self) -> dict:
        return {"name": "MonitorAgent", "type": "hybrid", "capabilities": ["monitor"]}

    async def process_request(self, payload: dict) -> dict:
        found = await self.discover_agents([payload["capability"]], healthy=False)
        checks = dict(zip([each.name for each in found], await asyncio.gather(*map(self.check, found)), strict=True))
        for name, reason in checks.items():
            if reason:
                await self.send_request("AlertAgent", {"level": "warning", "service": name, "reason": reason})
        return {"checked": len(checks), "failed": [name for name, reason in checks.items() if reason]}

    async def check(self, record) -> str:
        """Return what is wrong with a service, nothing if it is well."""
        try:
            health = await self.send_control(record, "health")
        except RequestError as error:  # it does not answer: that is an answer, too
            return error.message
        return "" if health["ok"] else health["reason"]


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        services = runtime.services
        for name in ("users", "orders", "payments"):
            await services.start(StoreAgent, {"name": name})
        await services.start(AlertAgent)
        await services.start(MonitorAgent)

        print(await services.request("MonitorAgent", {"capability": "store"}))
        print("orders:", await services.control("orders", "disconnect"))
        print(await services.request("MonitorAgent", {"capability": "store"}))


if __name__ == "__main__":
    asyncio.run(main())
