"""Level ``process``: a child with the runtime's own rights. It protects nobody from hostile code."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from shoal.boxes.agentguest.title import ROOM_FOR_TITLE
from shoal.boxes.holding import Holding
from shoal.boxes.launch import BOX_PATH, Launch, LaunchOrder, Walls
from shoal.boxes.spec import BoxSpec
from shoal.errors import BoxSpecError

__all__ = ["ProcessLauncher"]

GUEST = Path(__file__).parent / "guest"
CHANNEL = "0"


class ProcessLauncher:
    """Starts the runtime's own interpreter.

    An agent has the runtime's environment and directory. A box has a clean environment and a fresh directory of its own,
    which is removed with it.
    """

    level = "process"

    def __init__(self, *, for_boxes: bool = False) -> None:
        self._for_boxes = for_boxes

    async def prepare(self, spec: BoxSpec) -> None:
        """Raise BoxSpecError for what only walls can give."""
        unfit = [name for name in ("mounts", "rootfs", "image") if getattr(spec, name)]
        if unfit:
            raise BoxSpecError([f"level process has no {name}; use bubblewrap or stronger" for name in unfit])

    def build(self, order: LaunchOrder) -> Walls:
        """Return the command, with the kernel's death signal in front where ``setpriv`` can ask for it."""
        python = order.spec.python or sys.executable
        command: tuple[str, ...] = (python, "-I", "-S", str(GUEST / "main.py"), str(os.getpid()))
        setpriv = _setpriv()
        command = (*command, "unset") if setpriv is None else (setpriv, "--pdeathsig", "KILL", *command, "set")
        command = (*command, CHANNEL, ROOM_FOR_TITLE)
        if not self._for_boxes:
            return Walls(Launch(command=command))
        home = order.directory / "work"
        home.mkdir(parents=True, mode=0o700)
        env = {"PATH": BOX_PATH, "HOME": str(home), "LANG": "C.UTF-8", **order.spec.env}
        holding = Holding(order.box_id, order.limits)
        return Walls(Launch(command=holding.joined(command), env=env, cwd=str(home)), str(home), holding)


@functools.cache
def _setpriv() -> str | None:
    """Return the path of a setpriv that knows death signals: setting it there costs 1 ms, ctypes in the child 5."""
    path = shutil.which("setpriv")
    if path is None:
        return None
    tried = subprocess.run([path, "--pdeathsig", "KILL", "true"], capture_output=True, check=False)
    return path if tried.returncode == 0 else None
