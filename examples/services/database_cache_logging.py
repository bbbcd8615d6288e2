"""Three services in one process: a database, a cache in front of it, and a log of both."""

import argparse
import asyncio
import json
import uuid
from datetime import UTC, datetime

from shoal.runtime import AgentRuntime
from shoal.services import RequestError, ServiceAgent, codes


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
        key = payload.get("key")
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


async def main(isolation: str) -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        ask = runtime.services.request
        for agent in (DatabaseAgent, CacheAgent, LoggingAgent):
            await runtime.services.start(agent, isolation=isolation)

        stored = await ask("DatabaseAgent", {"operation": "store", "id": "42", "data": {"name": "Ada"}})
        print(
            "database:", stored["result"], (await ask("DatabaseAgent", {"operation": "retrieve", "id": "42"}))["data"]
        )

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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--isolation", default="inline")
    asyncio.run(main(parser.parse_args().isolation))
