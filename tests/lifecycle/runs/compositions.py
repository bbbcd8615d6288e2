"""Patterns whose agents write a line for each real call, for tests that kill the process in between."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from shoal.orchestration import Pipeline

COST = 0.01


class Said:
    """An answer with a cost."""

    def __init__(self, content: str) -> None:
        self.content = content
        self.cost = COST


class Logged:
    """An agent that writes its name to a file, in one write that survives the process, whenever it is really called."""

    def __init__(self, name: str, log: Path, answer: Callable[[str], str] | None = None) -> None:
        self.name = name
        self._log = log
        self._answer = answer or (lambda message: f"{name}({len(message)})")

    async def chat(self, message: str) -> Said:
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{self.name}\n".encode())
        os.close(file)
        return Said(self._answer(message))


def six(log: Path) -> Any:
    return Pipeline([Logged(name, log) for name in "abcdef"])


def long(log: Path) -> Any:
    return Pipeline([Logged(f"agent{number}", log) for number in range(300)], step_timeout=None)


class Gated(Logged):
    """An agent that says on standard output that it was asked, and answers when a file is there."""

    async def chat(self, message: str) -> Said:
        said = await super().chat(message)
        print(f"asked {self.name}", flush=True)
        while not self._log.with_name("go").exists():
            await asyncio.sleep(0.01)
        return said


def gated(log: Path) -> Any:
    return Pipeline([Logged("a", log), Gated("b", log), Logged("c", log)], step_timeout=None, name="gated")


COMPOSITIONS: dict[str, Callable[[Path], Any]] = {"six": six, "long": long, "gated": gated}


class Upper:
    """A chat object for a registered agent."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._log = Path(config["log"])

    async def chat(self, message: str) -> Said:
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, b"upper\n")
        os.close(file)
        if message.startswith("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        while message.startswith("wait") and not self._log.with_name("go").exists():
            await asyncio.sleep(0.01)
        return Said(message.upper())


class Handler:
    """An agent with a handler of messages only."""

    async def on_message(self, message: Any) -> str:
        return f"handled {message.data['message']}"
