"""Agent files for tests of watchers: written as editors and as people write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from shoal import AgentRuntime
from shoal.services import AgentWatcher
from tests.support.runtimes import until

__all__ = ["QUICK", "agent_file", "put", "served", "watching"]

QUICK = 0.05
SERVICE = """
class {cls}(ServiceAgent):
    concurrency = 20

    def info(self):
        return {{"name": "{name}", "capabilities": ["{name}"], "exclusive": {exclusive}}}

    async def process_request(self, payload):
        await asyncio.sleep(payload.get("pause", 0))
        return {{"n": payload.get("n"), "by": {by!r}}}
"""


def agent_file(name: str, by: Any, *, cls: str = "Served", exclusive: bool = False) -> str:
    """Return a file with one service, which answers with *by*."""
    head = "import asyncio\n\nfrom shoal.services import ServiceAgent\n\n"
    return head + SERVICE.format(cls=cls, name=name, exclusive=exclusive, by=by)


def put(file: Path, text: str | bytes) -> None:
    """Write a file as editors do: another one that takes its place."""
    beside = file.with_name(f".{file.name}.new")
    beside.write_bytes(text.encode() if isinstance(text, str) else text)
    os.replace(beside, file)


async def watching(runtime: AgentRuntime, folder: Path, **config: Any) -> AgentWatcher:
    """Start a watcher, and return it when it has seen what is there."""
    watcher = AgentWatcher({"path": str(folder), "interval": QUICK, **config})
    await runtime.services.start(watcher)
    await until(lambda: {*watcher.loaded, *watcher.errors} >= {file.name for file in folder.glob("*.py")})
    return watcher


def served(runtime: AgentRuntime, name: str) -> list[str]:
    """Return the instances of a service, whatever their state."""
    return [record.instance for record in runtime.services.records() if record.name == name]
