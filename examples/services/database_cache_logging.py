"""Three services, started together: a database, a cache and a log. Ctrl-C ends all.

They share a process. Elsewhere they run with a first argument: thread, process, bubblewrap or gvisor.
"""

import asyncio
import json
import sys
import uuid
from datetime import UTC, datetime

from shoal.runtime import AgentRuntime
from shoal.services import MultiAgentProcess, RequestError, ServiceAgent, codes


def unknown(operation: object) -> RequestError:
    return RequestError(codes.INVALID_OPERATION, f"Unknown operation: {operation}")


class DatabaseAgent(ServiceAgent):
    """Keeps records by id."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.records: dict[str, object] = {}

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "server", "capabilities": ["database", "storage"]}

    def process_request(self, payload: dict) -> dict:
        match payload.get("operation"):
            case "store":
                if "data" not in payload:
                    raise RequestError(codes.MISSING_FIELD, "store needs data")
                key = payload.get("id") or str(uuid.uuid4())
                self.records[key] = payload["data"]
                return {"result": "stored", "id": key}
            case "retrieve":
                if payload.get("id") not in self.records:
                    raise RequestError(codes.NOT_FOUND, f"No record {payload.get('id')!r}")
                return {"data": self.records[payload["id"]]}
            case operation:
                raise unknown(operation)


class CacheAgent(ServiceAgent):
    """Keeps values by key, as long as it lives."""

    def __init__(self, config: dict | None = None) -> None:
        super().__init__(config)
        self.cache: dict[str, object] = {}

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "server", "capabilities": ["cache", "memory"]}

    def process_request(self, payload: dict) -> None:
        key = str(payload.get("key"))
        match payload.get("operation"):
            case "get":
                self.send_response(value=self.cache.get(key))
            case "set":
                self.cache[key] = payload.get("value")
                self.send_response(status="stored")
            case "delete":
                self.cache.pop(key, None)
                self.send_response(status="deleted")
            case operation:
                raise unknown(operation)


class LoggingAgent(ServiceAgent):
    """Writes one line of JSON for each entry."""

    def info(self) -> dict:
        return {"name": type(self).__name__, "type": "server", "capabilities": ["logging", "audit"]}

    def process_request(self, payload: dict) -> dict:
        if "message" not in payload:
            raise RequestError(codes.MISSING_FIELD, "an entry needs a message")
        entry = {
            "entry_id": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(),
            "level": payload.get("level", "info"),
            "message": payload["message"],
            "source": payload.get("source"),
        }
        with open(self.config.get("path", "agent_audit.log"), "a") as file:
            file.write(json.dumps(entry) + "\n")
        return {"status": "logged", "entry_id": entry["entry_id"]}


async def use(runtime: AgentRuntime) -> None:
    """Ask each of them for something."""
    ask = runtime.services.request

    stored = await ask("DatabaseAgent", {"operation": "store", "id": "42", "data": {"name": "Ada"}})
    found = await ask("DatabaseAgent", {"operation": "retrieve", "id": "42"})
    print("database:", stored["result"], found["data"])

    await ask("CacheAgent", {"operation": "set", "key": "user", "value": "Ada"})
    cached = await ask("CacheAgent", {"operation": "get", "key": "user"})
    await ask("CacheAgent", {"operation": "delete", "key": "user"})
    print("cache:", cached["value"], (await ask("CacheAgent", {"operation": "get", "key": "user"}))["value"])

    entries = [ask("LoggingAgent", {"message": f"entry {n}", "source": "main"}) for n in range(20)]
    print("logged:", len({entry["entry_id"] for entry in await asyncio.gather(*entries)}))

    try:
        await ask("CacheAgent", {"operation": "shuffle"})
    except RequestError as error:
        print("refused:", error.code, error.message)


async def main(isolation: str = "inline") -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        process = MultiAgentProcess(runtime, isolation=isolation)
        for agent in (DatabaseAgent, CacheAgent, LoggingAgent):
            process.add_agent(agent)
        await process.start_all()
        print("started:", *(record.name for record in runtime.services.records()))

        await use(runtime)

        print("running; Ctrl-C ends all", flush=True)
        await process.wait_for_shutdown()
        print("left:", len(runtime.services.records()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
