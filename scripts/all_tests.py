"""All tests, as two halves side by side. A line of each goes out when it is whole.

Most tests wait for processes and disks more than they compute, so two halves take little more than the longer one. The
exit code is 0 when both halves passed; what failed is told again at the end.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).parent.parent
FIRST = ["tests/architecture", "tests/lifecycle/boxes", "tests/examples", "tests/unit/boxes", "tests/unit/kernel"]
"""Most of what makes boxes is in one half, so that those tests have the machine to themselves."""
HALVES = {"first": FIRST, "second": ["tests", *(f"--ignore={path}" for path in FIRST)]}


class Half:
    """One pytest process."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        command = [sys.executable, "-u", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.summary: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            print(f"{self.name:>6} | {line}", end="", flush=True)
            if line.startswith(("FAILED", "ERROR")) or " passed" in line or " failed" in line:
                self.summary.append(line.rstrip())

    def ended(self) -> int:
        """Wait for its end and return its exit code."""
        code = self.process.wait()
        self._reading.join()
        return code


def main() -> int:
    """Run both halves; returns the worse exit code."""
    halves = [Half(name, arguments) for name, arguments in HALVES.items()]
    codes = [half.ended() for half in halves]
    for half, code in zip(halves, codes, strict=True):
        print(f"\n{half.name}: {'passed' if code == 0 else f'exit code {code}'}", *half.summary, sep="\n  ")
    return max(codes, key=abs)


if __name__ == "__main__":
    sys.exit(main())
