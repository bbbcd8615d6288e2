"""All tests, in several parts side by side. A line of each goes out when it is whole.

Most tests wait for processes, servers and disks more than they compute, so the parts take little more than the longest.
The exit code is 0 when all parts passed; what failed is told again at the end. A few tests that failed beside the others
are run once more, alone: some hold times that a busy machine breaks. That they failed at first is told all the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parent.parent
BOXES = ["tests/architecture", "tests/lifecycle/boxes", "tests/examples", "tests/unit/boxes", "tests/unit/kernel"]
"""Most of what makes boxes is in one part, so that those tests have the machine to themselves."""
SERVICES = ["tests/lifecycle/services"]
SERVERS = [
    *(
        "tests/contract/test_postgres_store.py",
        "tests/contract/test_postgres_bus.py",
        "tests/contract/test_nats_bus.py",
    ),
    *("tests/lifecycle/bus", "tests/lifecycle/store_postgres", "tests/lifecycle/nodes", "tests/lifecycle/chaos"),
]
CLUSTER = [
    *(
        f"tests/lifecycle/services/test_{name}.py"
        for name in ("requests", "control", "pause", "life", "balancing", "nodes")
    ),
    *(f"tests/contract/test_runtime_{name}.py" for name in ("messages", "mail", "work", "queue", "groups", "agents")),
    *("tests/lifecycle/test_runtime_recovery.py", "tests/lifecycle/test_runtime_kills.py"),
]
"""What runs once more on PostgreSQL and NATS, beside the suites of store and bus."""
UNIT = ["tests/unit", "tests/simulation"]
REST = ["tests"]


def without(paths: list[str], *others: list[str]) -> list[str]:
    """Return the arguments for *paths* but for what stands in *others*."""
    return [*paths, *(f"--ignore={path}" for other in others for path in other)]


PARTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "boxes": (BOXES, {}),
    "services": (SERVICES, {}),
    "servers": (SERVERS, {}),
    "cluster": (CLUSTER, {"SHOAL_TEST_BACKEND": "cluster"}),
    "unit": (without(UNIT, BOXES), {}),
    "rest": (without(REST, BOXES, SERVICES, SERVERS, UNIT), {}),
}


FAILED = 1
"""The exit code of pytest when tests failed; others tell of something worse."""
FEW = 4


class Part:
    """One pytest process."""

    def __init__(self, name: str, arguments: list[str], more: dict[str, str]) -> None:
        self.name = name
        command = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.summary: list[str] = []
        self.code = 0
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(f"{self.name:>8} | {line}", end="", flush=True)
            if line.startswith(("FAILED", "ERROR")) or " passed" in line or " failed" in line:
                self.summary.append(line.rstrip())

    def ended(self) -> int:
        """Wait for its end and return its exit code."""
        code = self.process.wait()
        self._reading.join()
        return code

    @property
    def failed(self) -> list[str]:
        """The tests that failed."""
        return [line[7:].partition(" - ")[0] for line in self.summary if line.startswith("FAILED ")]


def main() -> int:
    """Run all parts, and what failed once more; returns the worst exit code."""
    codes = []
    parts = [Part(name, arguments, more) for name, (arguments, more) in PARTS.items()]
    for part in parts:
        part.code = part.ended()
    for part in parts:
        print(f"\n{part.name}: {'passed' if part.code == 0 else f'exit code {part.code}'}", *part.summary, sep="\n  ")
    for part in parts:
        if part.code == FAILED and len(part.failed) <= FEW:
            again = Part(f"{part.name} again", part.failed, PARTS[part.name][1])
            part.code = again.ended()
            print(f"\n{again.name}: {'passed alone' if part.code == 0 else 'failed'}", *part.failed, sep="\n  ")
        codes.append(part.code)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
