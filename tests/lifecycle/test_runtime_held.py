"""A message whose handler is held by a pause is not lost with its node."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from tests.lifecycle.held_node import Slow
from tests.support.processes import script
from tests.support.runtimes import running, until

Run = Callable[..., Any]
SCRIPT = Path(__file__).parent / "held_node.py"


def handled(runtime: AgentRuntime) -> list[int]:
    entry = runtime.store.kv.get("handled", now=runtime._clock.now())
    return [] if entry is None else entry.value


@pytest.mark.spec("R38")
def test_the_message_that_was_being_handled_when_a_paused_node_is_killed_is_handled_again(
    tmp_path: Path, run: Run
) -> None:
    file = tmp_path / "shoal.db"
    with script(SCRIPT, str(file)) as node:
        assert node.hear() == {"handled": []}
        node.signal(signal.SIGKILL)
        node.process.wait()

    async def main() -> None:
        async with AgentRuntime(file) as runtime:
            await runtime.register_agent("slow", Slow)
            await runtime.resume_agent("slow")
            await until(lambda: len(handled(runtime)) >= 5)
            assert handled(runtime) == [0, 1, 2, 3, 4]

    run(main)


def test_a_held_message_is_handled_once_when_its_agent_goes_on(store_url: str, run: Run) -> None:
    async def main() -> None:
        async with running(store_url, {"slow": Slow}) as runtime:
            for number in range(3):
                await runtime.send_message(["slow"], "note", number)
            await until(lambda: runtime.store.kv.get("begun", now=runtime._clock.now()))
            for _ in range(2):
                await runtime.pause_agent("slow")
                await runtime.resume_agent("slow")
            await until(lambda: len(handled(runtime)) >= 3)
            agent_id = runtime.get_agent_status("slow").agent_id
            await runtime.stop_agent("slow")
            assert runtime.store.mail.waiting(agent_id) == 0
            assert handled(runtime) == [0, 1, 2]

    run(main)


def test_a_held_message_is_handled_again_after_a_stop_in_the_pause(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        runtime = AgentRuntime(tmp_path / "shoal.db")
        await runtime.start()
        await runtime.register_agent("slow", Slow)
        await runtime.start_agent("slow")
        await runtime.send_message(["slow"], "note", 1)
        await until(lambda: runtime.store.kv.get("begun", now=runtime._clock.now()))
        await runtime.pause_agent("slow")
        await runtime.stop()
        await runtime.start()
        await runtime.resume_agent("slow")
        await until(lambda: handled(runtime))
        assert handled(runtime) == [1]
        await runtime.stop()

    run(main)
