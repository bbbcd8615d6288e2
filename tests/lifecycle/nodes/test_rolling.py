"""Two versions of a service side by side: the new one comes, the old one drains, and every request is answered meanwhile."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal import AgentRuntime
from shoal.services import Capability
from tests.support.nodes import Fleet, begun
from tests.support.runtimes import until


def test_a_rollout_leaves_no_request_unanswered(store_url: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    fleet = Fleet(store_url, tmp_path)
    seen: Counter[str] = Counter()
    rolled = asyncio.Event()

    async def ask(runtime: AgentRuntime) -> None:
        """Ask whoever can, one request after the other, until the rollout is over."""
        while not rolled.is_set():
            answer = await runtime.services.request(Capability("greeting"), {"pause": 0.01})
            seen[answer["version"]] += 1

    async def main() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            with fleet.node("old", service=True, version="1.0", workers=1) as old:
                while not await runtime.services.discover("greeting"):
                    await asyncio.sleep(0.01)
                asking = [asyncio.create_task(ask(runtime)) for _ in range(4)]
                await until(lambda: seen["1.0"] > 10)
                with fleet.node("new", service=True, version="2.0", workers=1):
                    await until(lambda: seen["2.0"] > 10)
                    found = await runtime.services.discover("greeting")
                    assert sorted(each.version for each in found) == ["1.0", "2.0"], "both serve"
                    tasks = [
                        await runtime.submit_task("work", {"number": n, "pause": 0.05}, capability="work")
                        for n in range(40)
                    ]
                    await until(lambda: {nodes[0] for nodes in begun(fleet.history()).values()} == {"old", "new"})
                    old.signal(signal.SIGTERM)
                    await until(lambda: old.process.poll() is not None)
                    before = seen.copy()
                    await until(lambda: seen["2.0"] > before["2.0"] + 10)
                    assert seen["1.0"] == before["1.0"]
                    rolled.set()
                    await asyncio.gather(*asking)  # an error of any request is raised here
                    done = await runtime.wait_for_tasks(tasks, timeout_seconds=60)
                    assert {str(task.status) for task in done} == {"completed"}
                    assert {len(nodes) for nodes in begun(fleet.history()).values()} == {1}

    run(main)
