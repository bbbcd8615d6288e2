"""A server on loopback that speaks as OpenAI does, in a process of its own and the same for all: ours and the peers'."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PYTHON = "BENCH_PYTHON"
"""The variable that names the interpreter of Shoal's environment, in which the server runs."""


@contextmanager
def served() -> Iterator[str]:
    """Run the server; gives its base URL."""
    command = [os.environ.get(PYTHON, sys.executable), "-m", "benchmarks.llm_serving"]
    root = Path(__file__).parents[1]
    server = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    try:
        url = server.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server did not start in {command[0]}")
        yield url
    finally:
        server.stdin.close()
        server.wait(30)


def main() -> None:
    """Serve until the end of standard input."""
    from benchmarks.turns import ANSWER
    from tests.llm_server import LlmServer, say

    with LlmServer(say(ANSWER)) as server:
        print(server.base_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
