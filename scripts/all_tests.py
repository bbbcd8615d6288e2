"""All tests, in several parts side by side. A line of each goes out when it is whole.

Most tests wait for processes, servers and disks now and then, so more parts run at once than there are processors. The
exit code is 0 when all parts passed; what failed is told again at the end. A few tests that failed beside the others
are run once more, alone: some hold times that a busy machine breaks. That they failed at first is told all the same.
"""

from __future__ import annotations

import compileall
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIFECYCLE = "tests/lifecycle"
WALLS = [
    *(f"{LIFECYCLE}/boxes/{name}" for name in ("attacks", "test_code_attacks.py", "test_code_runner.py")),
    f"{LIFECYCLE}/boxes/test_microvm.py",
]
"""What attacks boxes, and what is inside of machines."""
BOXES = [f"{LIFECYCLE}/boxes", "tests/unit/boxes"]
SERVICES = [f"{LIFECYCLE}/services"]
SERVERS = [
    *(f"tests/contract/test_{name}.py" for name in ("postgres_store", "postgres_bus", "nats_bus")),
    *(f"{LIFECYCLE}/{name}" for name in ("bus", "store_postgres", "nodes", "chaos")),
]
CLUSTER = ["tests", "--acceptance"]
"""What runs once more on PostgreSQL and NATS, beside the suites of store and bus."""
PROGRAMS = [
    *("tests/examples", "tests/architecture"),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / LIFECYCLE).glob("test_cli*.py"))),
]
"""What starts the examples and the command line."""
RUNS = [f"{LIFECYCLE}/{name}" for name in ("runs", "workflow", "llm", "locks")]
UNIT = ["tests/unit", "tests/simulation"]


def without(paths: list[str], *others: list[str]) -> list[str]:
    """Return the arguments for *paths* but for what stands in *others*."""
    return [*paths, *(f"--ignore={path}" for other in others for path in other)]


PARTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "walls": (WALLS, {}),
    "programs": (PROGRAMS, {}),
    "cluster": (CLUSTER, {"SHOAL_TEST_BACKEND": "cluster"}),
    "rest": (without(["tests"], WALLS, BOXES, SERVICES, SERVERS, PROGRAMS, RUNS, UNIT), {}),
    "boxes": (without(BOXES, WALLS), {}),
    "runs": (RUNS, {}),
    "services": (SERVICES, {}),
    "servers": (SERVERS, {}),
    "unit": (without(UNIT, BOXES), {}),
}
"""The longest begin first."""
AT_ONCE = 4
"""More of them break the times that tests hold, and end no earlier on two processors."""
FAILED = 1
"""The exit code of pytest when tests failed; others tell of something worse."""
FEW = 4


class Part:
    """One pytest process that has ended."""

    def __init__(self, name: str, arguments: list[str], more: dict[str, str]) -> None:
        self.name = name
        command = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        self._process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **more}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.summary: list[str] = []
        self._read()
        self.code = self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"{self.name:>8} | {line}", end="", flush=True)
            if line.startswith(("FAILED", "ERROR")) or " passed" in line or " failed" in line:
                self.summary.append(line.rstrip())

    @property
    def errors(self) -> list[str]:
        """What went wrong beside the tests themselves."""
        return [line for line in self.summary if line.startswith("ERROR ")]

    @property
    def failed(self) -> list[str]:
        """The tests that failed."""
        return [line[7:].partition(" - ")[0] for line in self.summary if line.startswith("FAILED ")]


def main() -> int:
    """Run all parts, and what failed once more; returns the worst exit code."""
    # Tests send it to programs; those would ignore it when this one was started in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Tests start Python thousands of times: without compiled files each one spends more on reading than on its work.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for folder in ("src", "tests"):
        compileall.compile_dir(ROOT / folder, quiet=2)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = list(pool.map(lambda name: Part(name, *PARTS[name]), PARTS))
    for part in parts:
        print(f"\n{part.name}: {'passed' if part.code == 0 else f'exit code {part.code}'}", *part.summary, sep="\n  ")
    codes = []
    for part in parts:
        code = part.code
        if code == FAILED and 0 < len(part.failed) <= FEW and not part.errors:
            again = Part(f"{part.name} again", part.failed, PARTS[part.name][1])
            code = again.code
            print(f"\n{again.name}: {'passed alone' if code == 0 else 'failed'}", *part.failed, sep="\n  ")
        codes.append(code)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
