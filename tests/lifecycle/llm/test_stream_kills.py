"""A stream whose process is killed in the middle: it goes on in the next, and readers are told what counts no more."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.errors import RunError
from shoal.llm import StreamEvent
from tests.lifecycle.llm.stream_node import WORDS
from tests.support.backend import store_at

pytestmark = pytest.mark.usefixtures("backend")

ROOT = Path(__file__).parents[3]
WHOLE = "I look. " + "".join(WORDS)
Run = Callable[..., Any]


def live(store: str, *words: str) -> int:
    """Carry the run out, or go on with it; return how the process ended."""
    command = [sys.executable, "-m", "tests.lifecycle.llm.stream_node", store, "r1", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


async def read(runtime: AgentRuntime, after: int = 0) -> list[StreamEvent]:
    """Read the stream out of the store."""
    return [event async for event in runtime.stream("r1/Speaker", after)]


@pytest.mark.spec("O38")
@pytest.mark.parametrize("words", [5, 30])
def test_one_restart_tells_readers_and_the_final_text_is_equal(words: int, tmp_path: Path, run: Run) -> None:
    store = store_at(tmp_path / "runs.db")
    assert live(store, str(words)) == -signal.SIGKILL
    assert live(store) == 0

    async def main() -> None:
        async with AgentRuntime(store) as runtime:
            events = await read(runtime)
            assert [event.offset for event in events] == list(range(1, len(events) + 1)), "no gap, no double"
            assert [event.kind for event in events].count("restart") == 1
            before = "".join(event.text for event in events if event.attempt == 1)
            assert before and WHOLE.startswith(before)
            assert "".join(event.text for event in events if event.attempt == 2) == WHOLE
            assert [event.kind for event in events if event.attempt == 2 and event.kind != "text"] == [
                "restart", "tool_call", "tool_result", "done",
            ]  # fmt: skip
            for after in range(0, len(events), 7):
                assert await read(runtime, after) == events[after:]
            stream = runtime.stream("r1/Speaker")
            result = await stream.result()
            with pytest.raises(RunError, match="read out of the store"):
                await stream.cancel()
            assert (result.content, result.run_id) == ("".join(WORDS), "r1")
            assert [step.key for step in runtime.runs.steps("r1")] == [
                "Speaker/model1",
                "Speaker/tool1:look",
                "Speaker/model2",
            ]

    run(main)
