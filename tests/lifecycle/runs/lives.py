"""Lives of a run, each in a process of its own that is forked from one where everything is imported already."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from shoal.client import Client
from shoal.kernel.budget import Account
from shoal.kernel.run import RunRecord
from shoal.store import open_store
from shoal.testing import kill_at_nth
from tests.support.backend import store_at

ROOT = Path(__file__).parents[3]


class Life(msgspec.Struct, frozen=True, kw_only=True):
    """What a process is to do: carry the run out, and end as it is told to."""

    arguments: list[str]
    out: str
    kill: tuple[int, str] | None = None


class Lives:
    """A process from which lives are forked."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def live(
        self, folder: Path, composition: str, run_id: str, *, kill: tuple[int, str] | None = None, budget: str = ""
    ) -> dict[str, Any] | None:
        """Carry the run out, or go on with it; None when it was killed, as asked."""
        out = folder / "out.txt"
        arguments = [store_at(folder / "runs.db"), str(folder / "calls.log"), composition, run_id, budget]
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(Life(arguments=arguments, out=str(out), kill=kill)) + b"\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        if status == -signal.SIGKILL:
            return None
        assert status == 0, out.read_text()
        found: dict[str, Any] = msgspec.json.decode(out.read_bytes().splitlines()[-1])
        return found


@contextmanager
def lives(program: str = "tests.lifecycle.runs.run_node") -> Iterator[Lives]:
    """Start the process that forks; ``main`` of the module *program* is what is done in each life."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.runs.lives", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        yield Lives(process)
    finally:
        process.kill()
        process.communicate(timeout=30)


def model_calls(folder: Path, begin: int = 0) -> Counter[str]:
    """Return how often each model call was really made, by its key, from line *begin* of the log on."""
    log = folder / "calls.log"
    lines = log.read_bytes().splitlines()[begin:] if log.exists() else []
    return Counter(msgspec.json.decode(line)["key"] for line in lines)


def recorded(folder: Path, run_id: str) -> set[str]:
    """Return the keys of the model calls that are on record, as the log tells them; none before the run was begun."""

    async def read() -> set[str]:
        async with Client(store_at(folder / "runs.db"), read_only=True) as client:
            if run_id not in [run.run_id for run in client.runs.list()]:
                return set()
            steps = client.runs.steps(run_id)
            return {f"{run_id}/{step.key}" for step in steps if step.kind == "model" and step.finished_at is not None}

    return asyncio.run(read())


def journals(folder: Path) -> Sequence[RunRecord]:
    """Return all runs of the store."""

    async def read() -> Sequence[RunRecord]:
        async with Client(store_at(folder / "runs.db"), read_only=True) as client:
            return client.runs.list()

    return asyncio.run(read())


def account(folder: Path, account_id: str) -> Account:
    """Return the account of a budget."""

    async def read() -> Account:
        store = open_store(store_at(folder / "runs.db"), read_only=True)
        await store.open()
        try:
            return await store.runs.account(account_id)
        finally:
            await store.close()

    return asyncio.run(read())


def _main(program: str) -> None:
    main = importlib.import_module(program).main
    for line in sys.stdin.buffer:
        life = msgspec.json.decode(line, type=Life)
        pid = os.fork()
        if pid == 0:
            _live(life, main)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _live(life: Life, main: Callable[..., Coroutine[Any, Any, None]]) -> None:
    file = os.open(life.out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 1
    try:
        if life.kill is not None:
            kill_at_nth(life.kill[0], life.kill[1])  # type: ignore[arg-type]
        asyncio.run(main(*life.arguments))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _main(*sys.argv[1:])
