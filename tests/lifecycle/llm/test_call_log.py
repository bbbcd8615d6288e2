"""The log of a scripted model counts its calls across a kill -9 in the middle of one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, signal, sys
from shoal.llm import ChatMessage, ModelRequest, scripted

def die(request):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    model = scripted(["one", die if sys.argv[2] == "first" else "two"], log=sys.argv[1])
    for ordinal in range(int(sys.argv[3]), 2):
        await model.request(ModelRequest(agent_name="Writer", ordinal=ordinal, key=f"run/{ordinal}"))

asyncio.run(main())
"""


@pytest.mark.parametrize("ordinal", [0, 1])
def test_a_killed_call_is_counted(tmp_path: Path, ordinal: int) -> None:
    log = tmp_path / "calls"

    def life(which: str, begin: int) -> int:
        return subprocess.run([sys.executable, "-c", PROGRAM, str(log), which, str(begin)], timeout=60).returncode

    assert life("first", ordinal) == -signal.SIGKILL
    assert life("second", 1) == 0
    told = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["key"] for line in told] == ["run/0", "run/1", "run/1"][ordinal:]
