"""Five processes of three kinds of services: one is killed with kill -9, and comes back under its name. Ctrl-C ends all."""

import asyncio
import json
import os
import signal
import uuid
from datetime import UTC, datetime
from pathlib import Path

from shoal.runtime import AgentRuntime
from shoal.services import AgentProcessManager, LoadBalancerAgent, RequestError, ServiceAgent, codes


class WorkerAgent(ServiceAgent):
    """Does the work."""

    def info(self) -> dict:
        return {"name": "WorkerAgent", "type": "server", "capabilities": ["worker", "processing"]}

    def process_request(self, payload: dict) -> dict:
        if "data" not in payload:
            raise RequestError(codes.MISSING_FIELD, "a worker needs data")
        return {"result": f"Processed: {payload['data']}", "worker_id": self.context.name, "pid": os.getpid()}


class LoggingAgent(ServiceAgent):
    """Writes what it is told to a file, a line of JSON each."""

    def info(self) -> dict:
        return {"name": "LoggingAgent", "type": "server", "capabilities": ["logging", "audit"]}

    def process_request(self, payload: dict) -> dict:
        entry = {
            "entry_id": str(uuid.uuid4()),
            "timestamp": datetime.now(UTC).isoformat(),
            "level": payload.get("level", "info"),
            "message": payload.get("message"),
        }
        with Path(self.config["file"]).open("a") as log:
            log.write(json.dumps(entry) + "\n")
        return {"status": "logged", "entry_id": entry["entry_id"]}


async def kill_one(manager: AgentProcessManager, name: str) -> None:
    """Kill a process as a crash would, and wait until it is back."""
    before = manager.processes[name]
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    while True:
        after = manager.processes[name]
        if after.restarts > before.restarts and after.state == "running":
            break
        await asyncio.sleep(0.01)
    print(f"{name} died (exit code {after.exit_code}) and is back, in another process: {after.pid != before.pid}")


async def main() -> None:
    async with AgentRuntime(store="sqlite://:memory:") as runtime:
        manager = AgentProcessManager(runtime)
        names = await manager.start_agent_process(WorkerAgent, count=3)
        names += await manager.start_agent_process(LoadBalancerAgent, options={"capability": "worker"})
        names += await manager.start_agent_process(LoggingAgent, options={"file": "agent_audit.log"})
        print("started:", *names)

        ask = runtime.services.request
        answers = [await ask("LoadBalancerAgent", {"data": n}) for n in range(6)]
        print("asked:", *sorted({answer["worker_id"] for answer in answers}))

        await kill_one(manager, "workeragent_1")
        answer = await ask("workeragent_1", {"data": "again"})
        print(answer["worker_id"], "answers:", answer["result"])
        await ask("LoggingAgent", {"level": "warning", "message": "workeragent_1 was killed"})

        print("running; Ctrl-C ends all", flush=True)
        await manager.wait_for_shutdown()
        print("left:", len(manager.processes))


if __name__ == "__main__":
    asyncio.run(main())
