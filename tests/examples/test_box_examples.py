"""The examples of boxes print what they say, at every level that runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.programs import ROOT, play
from tests.support.levels import chosen, need

LEVELS = ("process", "bubblewrap", "gvisor", "microvm")
SHARE = {"gvisor": 10, "microvm": 25}
RULE = "=" * 62
HOST = [
    RULE, "Multi-Agent Orchestration Demo", RULE, "[host] Creating boxes...",
    "[host] Created boxes: ['worker-a', 'worker-b']", "[host] Starting agent in worker-b (receiver)...",
    "[host] Starting agent in worker-a (sender)...", "[host] Waiting for worker-a to complete...",
    "[host] worker-a finished with exit code: 0", "[host] Stopping worker-b...", RULE, "Demo complete!", RULE,
]  # fmt: skip
SENDER = [
    "[agent_a] Starting...",
    "[agent_a] Sending message to worker-b...",
    "[agent_a] Got response from worker-b: {'doubled': 42}",
    "[agent_a] Publishing 'task_complete' event...",
    "[agent_a] Done!",
]
RECEIVER = [
    "[agent_b] Starting, waiting for messages...",
    "[agent_b] Received message from worker-a: {'task': 'double', 'value': 21}",
    "[agent_b] Responding with: {'doubled': 42}",
    "[agent_b] Received 'task_complete' event: {'status': 'success', 'result': {'doubled': 42}}",
]
CAUSES = [
    (SENDER[1], RECEIVER[1]), (RECEIVER[1], RECEIVER[2]), (RECEIVER[2], SENDER[2]), (SENDER[2], SENDER[3]),
    (SENDER[3], RECEIVER[3]), (RECEIVER[3], HOST[11]), (SENDER[4], HOST[8]), (HOST[8], HOST[9]),
]  # fmt: skip


@pytest.mark.spec("B1")
@pytest.mark.parametrize("level", LEVELS)
def test_the_two_workers(level: str, tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    need(level)
    for _ in range(max(2, rounds(50, 4) // SHARE.get(level, 1))):
        lines = play(ROOT / "examples/boxes/host.py", tmp_path, "--isolation", level).out.splitlines()
        assert len(lines) == 26 and lines.count("") == 4
        texts = [line for line in lines if line]
        assert [line for line in texts if not line.startswith("[agent_")] == HOST
        assert [line for line in texts if line.startswith("[agent_a]")] == SENDER
        assert [line for line in texts if line.startswith("[agent_b]")] == RECEIVER
        assert [pair for pair in CAUSES if texts.index(pair[0]) >= texts.index(pair[1])] == []


@pytest.mark.spec("B16")
@pytest.mark.parametrize(
    "level", chosen(*LEVELS[:-1], long=LEVELS[-1:])
)  # three machines: half a minute of processor time
def test_coder_reviewer_tester(level: str, tmp_path: Path) -> None:
    need(level)
    lines = play(ROOT / "examples/boxes/pipeline.py", tmp_path, "--isolation", level).out.splitlines()
    verdicts = [line for line in lines if line.startswith("approved")]
    assert verdicts == [
        "approved True: fibonacci(20) == 6765",
        "approved False: Empty code",
        "approved False: No function definition found",
        "approved False: Tests failed: fibonacci(20) is 20, not 6765",
    ]
    heard = sorted(line for line in lines if "pipeline_complete: approved True" in line)
    assert heard == ["[reviewer] pipeline_complete: approved True", "[tester] pipeline_complete: approved True"]
