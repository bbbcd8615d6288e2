"""Two boxes that talk: worker-a asks worker-b to double a number, and publishes the result.

Run it with: python examples/boxes/host.py [--isolation process|bubblewrap|gvisor|microvm|auto]
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from shoal.boxes import BoxRuntime

HERE = Path(__file__).parent
RULE = "=" * 62


async def main(isolation: str) -> None:
    print(f"{RULE}\nMulti-Agent Orchestration Demo\n{RULE}\n", flush=True)
    async with BoxRuntime(isolation) as runtime:
        print("[host] Creating boxes...", flush=True)
        sender = await runtime.create_box("worker-a")
        receiver = await runtime.create_box("worker-b")
        print(f"[host] Created boxes: {runtime.list_boxes()}\n", flush=True)

        print("[host] Starting agent in worker-b (receiver)...", flush=True)
        await receiver.run_script(HERE / "agent_receiver.py")
        print("[host] Starting agent in worker-a (sender)...\n", flush=True)
        await sender.run_script(HERE / "agent_sender.py")

        print("[host] Waiting for worker-a to complete...", flush=True)
        code = await sender.wait()
        print(f"[host] worker-a finished with exit code: {code}", flush=True)
        print("[host] Stopping worker-b...", flush=True)
        await receiver.stop()
    print(f"\n{RULE}\nDemo complete!\n{RULE}", flush=True)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Two boxes that talk.")
    arguments.add_argument("--isolation", default="auto", help="process, bubblewrap, gvisor, microvm, auto")
    asyncio.run(main(arguments.parse_args().isolation))
