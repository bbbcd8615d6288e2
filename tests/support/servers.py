"""Services for tests."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from shoal.services import AgentInfo, Capability, RequestError, ServiceAgent, control_action

__all__ = ["Asker", "Echo", "Looper", "Pinger", "Sick", "SyncAsker", "SyncEcho", "Worker"]


class Echo(ServiceAgent):
    """Answers with what it was sent, after ``pause`` seconds; fails when it is told to."""

    name = "echo"

    def info(self) -> AgentInfo:
        return AgentInfo(self.config.get("name", "echo"), ("echo", "Test Word"), type="server")  # type: ignore[arg-type]

    async def process_request(self, payload: dict[str, Any]) -> Any:
        if payload.get("pause"):
            await asyncio.sleep(payload["pause"])
        match payload.get("do"):
            case "refuse":
                raise RequestError("INVALID_OPERATION", "no such operation", {"known": ["echo"]})
            case "raise":
                raise KeyError("lost")
            case "set":
                return {"value": {1, 2}}
            case "list":
                return [1]
            case "forget":
                return asyncio.sleep(1)
            case "nothing":
                return None
            case "twice":
                self.send_response(n=1)
                self.send_response(n=2)
            case "error":
                self.send_error("not today", "CLOSED", {"until": "tomorrow"})
                return {"ignored": True}
            case "header":
                assert self.header is not None
                return {"event": self.header.event_uuid, "attempt": self.header.attempt}
        return {"echo": payload.get("n"), "pid": os.getpid()}

    @control_action("shout")
    def shout(self, data: Any) -> str:
        return str(data).upper()


class SyncEcho(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "sync_echo", "capabilities": ["echo"], "type": "server"}

    def process_request(self, payload: dict[str, Any]) -> None:
        time.sleep(payload.get("pause", 0))
        self.send_response(echo=payload["n"])


class Asker(ServiceAgent):
    """Forwards to another service."""

    def info(self) -> AgentInfo:
        kind = self.config.get("type", "hybrid")
        return AgentInfo(self.config.get("name", "asker"), ("asker",), type=kind)

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"asked": await self.send_request(payload["target"], payload["payload"])}


class SyncAsker(ServiceAgent):
    def info(self) -> dict[str, Any]:
        return {"name": "sync_asker", "capabilities": ["asker"]}

    def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        return {"asked": self.wait_for(self.send_request(Capability("echo"), payload))}


class Looper(ServiceAgent):
    """Asks the next of ``ring`` in its payload, and itself for ever when told so."""

    def info(self) -> AgentInfo:
        return AgentInfo(self.config["name"], ("loop",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("for_ever"):
            return await self.send_request(self.config["name"], payload, timeout=20)
        ring = payload.get("ring", [])
        if payload.get("pause"):
            await asyncio.sleep(payload["pause"])
        if not ring:
            return {"via": [self.config["name"]]}
        found = await self.send_request(ring[0], {**payload, "ring": ring[1:]}, timeout=20)
        return {"via": [self.config["name"], *found["via"]]}


Pinger = Looper


class Sick(Echo):
    """Is as well as it was told to be."""

    well = True

    def health(self) -> dict[str, Any]:
        return {"ok": self.well}

    @control_action("be")
    async def be(self, data: bool) -> bool:
        self.well = data
        return data


class Worker(ServiceAgent):
    """Counts; ``slow`` seconds for each request."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.done = 0

    def info(self) -> AgentInfo:
        return AgentInfo("worker", ("worker", "processing"), type="server")  # type: ignore[arg-type]

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        self.done += 1
        await asyncio.sleep(self.config.get("slow", 0))
        return {"n": payload["n"], "by": self.context.name}
