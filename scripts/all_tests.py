"""All tests, in several parts side by side. A line of each goes out when it is whole.

Most tests wait for processes, servers and disks now and then, so more parts run at once than there are processors.
Those marked ``alone`` hold times that a busy machine breaks: they run when all parts have ended. The exit code is 0 when
all passed; what failed is told again at the end. A few tests that failed beside the others are run once more, by
themselves. That they failed at first is told all the same.
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
    *(f"{LIFECYCLE}/{name}" for name in ("bus", "store_postgres")),
]
NODES = [f"{LIFECYCLE}/{name}" for name in ("nodes", "chaos")]
CLUSTER = ["tests", "--acceptance", "-m", ""]
"""What runs once more on PostgreSQL and NATS, beside the suites of store and bus: all lines in one, to be counted."""
EXAMPLES = ["tests/examples"]
COMMANDS = [str(path.relative_to(ROOT)) for path in sorted((ROOT / LIFECYCLE).glob("test_cli*.py"))]
RUNS = [f"{LIFECYCLE}/{name}" for name in ("runs", "workflow", "llm", "locks")]
CONTRACT = ["tests/contract"]
UNIT = ["tests/unit"]
WORLDS = ["tests/simulation", "tests/architecture"]
BESIDE = ["-m", "not alone"]
"""Goes before the arguments of a part: pytest obeys the last ``-m``."""


def without(paths: list[str], *others: list[str]) -> list[str]:
    """Return the arguments for *paths* but for what stands in *others*."""
    return [*paths, *(f"--ignore={path}" for other in others for path in other)]


def marked_alone() -> list[str]:
    """Return the arguments for the tests that run when all others have ended, wherever they stand."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.alone" in path.read_text()]
    return [*(str(path.relative_to(ROOT)) for path in files), "-m", "alone"]


Given = tuple[list[str], dict[str, str]]
"""The arguments of a pytest process, and variables of its environment."""
PARTS: dict[str, Given] = {
    "cluster": (CLUSTER, {"SHOAL_TEST_BACKEND": "cluster"}),
    "walls": (WALLS, {}),
    "rest": (
        without(["tests"], WALLS, BOXES, SERVICES, SERVERS, NODES, EXAMPLES, COMMANDS, RUNS, CONTRACT, UNIT, WORLDS),
        {},
    ),
    "services": (SERVICES, {}),
    "examples": (EXAMPLES, {}),
    "nodes": (NODES, {}),
    "boxes": (without(BOXES, WALLS), {}),
    "runs": (RUNS, {}),
    "contract": (without(CONTRACT, SERVERS), {}),
    "commands": (COMMANDS, {}),
    "servers": (SERVERS, {}),
    "unit": (without(UNIT, BOXES), {}),
    "worlds": (WORLDS, {}),
}
"""The longest begin first and the shortest last, so that none is left over at the end; two of "walls", "examples" and
"boxes", which start virtual machines, are kept apart as far as that goes."""
ALONE: dict[str, Given] = {"alone": (marked_alone(), {})}
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
        parts = list(pool.map(lambda name: Part(name, [*BESIDE, *PARTS[name][0]], PARTS[name][1]), PARTS))
    parts += [Part(name, *given) for name, given in ALONE.items()]
    for part in parts:
        print(f"\n{part.name}: {'passed' if part.code == 0 else f'exit code {part.code}'}", *part.summary, sep="\n  ")
    codes = []
    for part in parts:
        code = part.code
        if code == FAILED and 0 < len(part.failed) <= FEW and not part.errors:
            again = Part(f"{part.name} again", part.failed, (PARTS | ALONE)[part.name][1])
            code = again.code
            print(f"\n{again.name}: {'passed alone' if code == 0 else 'failed'}", *part.failed, sep="\n  ")
        codes.append(code)
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
