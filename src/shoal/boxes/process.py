"""Level ``process``: a child with the runtime's own rights. It protects nobody from hostile code."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from shoal.boxes.launch import Launch, LaunchOrder, Walls
from shoal.boxes.spec import BoxSpec

__all__ = ["ProcessLauncher"]

GUEST = Path(__file__).parent / "guest"


class ProcessLauncher:
    """Starts the runtime's own interpreter, with the runtime's environment."""

    level = "process"

    async def prepare(self, spec: BoxSpec) -> None:
        """Nothing takes long here."""

    def build(self, order: LaunchOrder) -> Walls:
        """Return the command, with the kernel's death signal in front where ``setpriv`` can ask for it."""
        python = (sys.executable, "-I", "-S", str(GUEST / "main.py"), str(os.getpid()))
        setpriv = _setpriv()
        if setpriv is None:
            return Walls(Launch(command=(*python, "unset")))
        return Walls(Launch(command=(setpriv, "--pdeathsig", "KILL", *python, "set")))


@functools.cache
def _setpriv() -> str | None:
    """Return the path of a setpriv that knows death signals: setting it there costs 1 ms, ctypes in the child 5."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    tried = subprocess.run([path, "--pdeathsig", "KILL", "true"], capture_output=True, check=False)
    return path if tried.returncode == 0 else None
