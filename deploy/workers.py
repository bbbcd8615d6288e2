"""What the example deployment runs."""

from __future__ import annotations

from typing import Any

from shoal.services import AgentInfo, ServiceAgent


class Worker(ServiceAgent):
    """Doubles a number, and keeps how often it was asked."""

    asked = 0

    def info(self) -> AgentInfo:
        return AgentInfo("worker", ("doubling",), version=str(self.config.get("version", "1")))

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.asked += 1
        await self.context.checkpoint({"asked": self.asked})
        return {"doubled": 2 * payload["n"], "version": self.config.get("version", "1")}
