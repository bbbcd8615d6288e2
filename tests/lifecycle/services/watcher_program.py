"""A program with a watcher, ended by signals: ``python watcher_program.py FILE FOLDER``. It says what is there."""

from __future__ import annotations

import asyncio
import json
import sys

from shoal import AgentRuntime
from shoal.services import AgentWatcher


async def main(file: str, folder: str) -> None:
    async with AgentRuntime(file) as runtime:
        watcher = AgentWatcher({"path": folder, "interval": 0.05})
        await runtime.services.start(watcher)
        while line := await asyncio.to_thread(sys.stdin.readline):
            word = line.strip()
            if word == "stop":
                return
            while {*watcher.loaded} != {*word.split(",")}:
                await asyncio.sleep(0.01)
            records = [(record.instance, record.uuid, record.state) for record in runtime.services.records()]
            told = {"records": sorted(records), "loaded": watcher.loaded, "errors": watcher.errors}
            print(json.dumps(told), flush=True)


asyncio.run(main(*sys.argv[1:]))
