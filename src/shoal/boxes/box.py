"""A box: an isolated place where Python code runs, talks to other boxes, and is watched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shoal.boxes import boxwire
from shoal.boxes.asked import check_env, check_seconds, check_texts
from shoal.boxes.handed import Handed
from shoal.boxes.incarnation import Incarnation
from shoal.boxes.logs import LogLine, Logs
from shoal.boxes.results import BoxStats
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.errors import (
    BoxProgramError,
    BoxStartError,
    BoxStateError,
    BoxWaitTimeoutError,
    PythonMismatchError,
)

if TYPE_CHECKING:
    from shoal.boxes.house import House

__all__ = ["Box"]

_MIB = 1 << 20


class Box(Handed):
    """One box of a ``BoxRuntime``; made by ``create_box``.

    Attributes:
        name: its name, by which others reach it.
        isolation: the level that it really runs in.
        state: created, starting, ready, running, stopping, exited or failed.
        incarnation: which run this is, from 1; 0 before the first start.
        exit_code: of the last run, None before its end; -n for death by signal n.
        reason: why the last run ended: exit, stopped, signal n, a limit, or protocol with what was wrong.
        error: what the task raised, as text.
        result: what the task returned, when that is JSON.
        outputs: path in the box -> bytes: what ``collect`` found at a normal end.
    """

    def __init__(self, name: str, isolation: str, spec: BoxSpec, limits: BoxLimits, house: House) -> None:
        super().__init__(name, house)
        self.isolation = isolation
        self.state = "created"
        self.incarnation = 0
        self.exit_code: int | None = None
        self.reason: str | None = None
        self.error: str | None = None
        self.result: Any = None
        self.outputs: dict[str, bytes] = {}
        self._spec = spec
        self._limits = limits
        self._starting: asyncio.Task[Incarnation] | None = None
        self._starters = 0  # who waits for that
        self.removed = False
        self.kept = Logs(limits.log_lines, int(limits.log_mib * _MIB))
        self.ran = False

    async def start(self) -> None:
        """Bring up its guest; nothing runs yet. Twice does nothing.

        Raises:
            BoxStartError: it did not come up, or was stopped before it was up.
            RuntimeClosedError, BoxStateError: its runtime is shut down, it was removed.
        """
        await self._alive()

    async def _alive(self) -> Incarnation:
        self._house.check_loop()
        while self._starting is not None and self._starting.cancelling():
            await asyncio.wait([self._starting])  # that one is given up
        if self._life is not None:
            return self._life
        self._house.check_open()
        if self.removed:
            raise BoxStateError(f"Box {self.name!r} was removed", note="Make another with `create_box`.")
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
            self._starting.add_done_callback(self._started)
        starting = self._starting
        self._starters += 1
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if here is None or here.cancelling() or not starting.cancelled():
                raise
            self._house.check_open()
            raise BoxStartError(
                f"Box {self.name!r} was stopped before it was up", level=self.isolation, phase="launch"
            ) from None
        finally:
            self._starters -= 1
            if not self._starters:
                starting.cancel()  # nobody wants it any more; nothing happens when it is done

    async def _start(self) -> Incarnation:
        self.state = "starting"
        self.incarnation += 1
        self.exit_code = self.reason = self.error = self.result = None
        self.outputs = {}
        self.ran = False
        try:
            life = await self._house.start(self, self._spec, self._limits)
            if life.ended.done():
                life.ready.result()  # raises how it ended
            self._life = life
        except BaseException as error:
            self.state = "failed"
            self.error = str(error)
            raise
        self.state = "ready"
        return self._life

    def _started(self, starting: asyncio.Task[Incarnation]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # whoever waits for it has it

    async def run(self, env: Mapping[str, str] | None = None) -> None:
        """Send the program, and return when its handlers are registered. A box that ended runs again, anew.

        Raises:
            BoxStateError: nothing is registered, or it runs already.
            BoxProgramError: something in the program cannot travel, or be unpacked there; the box takes another.
            PythonMismatchError: its interpreter has another minor version.
        """
        self._check_idle()
        if not self._program:
            raise BoxStateError("No task or handlers registered", note=f"Use @{self.name}.task or .on_message first.")
        given = check_env(env)
        packed = self._program.pack(self.name, self._limits.max_program_mib)
        life = await self._alive()
        self._check_idle()
        if life.python != self._house.python:
            raise PythonMismatchError(self._house.python, life.python)
        stream = life.errands.stream(packed)
        await self._begin(life, boxwire.BoxProgram(stream=stream, size=len(packed), env=given))

    async def run_script(self, path: str | Path, *args: str, env: Mapping[str, str] | None = None) -> None:
        """Run a file of the host as ``__main__`` in the box, with *args*; return when it has begun.

        Raises:
            BoxStateError: it runs already.
            OSError: the file cannot be read.
        """
        self._check_idle()
        given, words = check_env(env), tuple(map(str, args))
        check_texts("each argument of a script", Path(path).name, *words)
        source = await asyncio.to_thread(Path(path).read_bytes)
        life = await self._alive()
        self._check_idle()
        stream = life.errands.stream(source)
        script = boxwire.Script(stream=stream, size=len(source), path=Path(path).name, args=words, env=given)
        await self._begin(life, script)

    def _check_idle(self) -> None:
        if self.state in ("running", "stopping"):
            raise BoxStateError("Already running", note="Wait for its end, or stop it first.")

    async def _begin(self, life: Incarnation, record: boxwire.BoxProgram | boxwire.Script) -> None:
        self.state = "running"
        self.ran = True
        try:
            await life.start_program(record)
        except BoxProgramError:
            self.state, self.ran = "ready", False  # the box takes another
            raise
        except asyncio.CancelledError:
            life.child.kill()
            raise

    # -- its end

    async def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, after all its frames and output were read.

        Raises:
            BoxStateError: it was never run.
            BoxWaitTimeoutError: it runs on after *timeout* seconds; 0 only looks.
        """
        if self._life is None or not self.ran:
            if self.ran and self.exit_code is not None:
                return self.exit_code
            raise BoxStateError(f"Box {self.name!r} was never run", note="Call `await box.run()` first.")
        check_seconds(timeout, "timeout")
        self._house.check_loop()
        life = self._life
        if timeout is None:
            return await asyncio.shield(life.ended)
        try:
            async with self._house.clock.timeout(timeout):
                return await asyncio.shield(life.ended)
        except TimeoutError:
            text = f"Box {self.name!r} did not end within {timeout:g} s"
            raise BoxWaitTimeoutError(text, {self.name: None}) from None

    async def stop(self, grace: float | None = None, drain: bool = True) -> None:
        """Take nothing new, handle what was taken, end; twice does nothing, also on a box never started.

        Args:
            grace: seconds until everything in it is killed; after half of them its program gets SIGTERM. Default: its
                spec's ``stop_grace``.
            drain: False: drop what waits in its mailbox.
        """
        check_seconds(grace, "grace")
        self._house.check_loop()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        life = self._life
        if life is None:
            return
        self.state = "stopping"
        await life.stop(self._spec.stop_grace if grace is None else grace, drain)

    def _abandon(self) -> None:
        """End whatever has come up of it: nobody will have it."""
        if self._starting is not None:
            self._starting.cancel()
        if self._life is not None:
            self._life.child.kill()

    def _ended(self, life: Incarnation) -> None:
        """Learn that its incarnation has ended."""
        if self._life is not life:
            return  # it never came up for anybody, and meanwhile there may be another
        self._life = None
        self.exit_code = life.ended.result()
        self.reason = life.reason
        self.state = "exited"
        goodbye = life.goodbye
        if goodbye is not None:
            self.error = None if goodbye.error is None else goodbye.error.text
            self.result = life.result
            self.outputs = life.outputs

    # -- what it shows

    def logs(self, stream: str | None = None, tail: int | None = None) -> list[LogLine]:
        """Return the last *tail* lines (None: all that are kept) of *stream*: stdout, stderr, log, exec (None: all)."""
        return self.kept.tail(stream, tail)

    def follow_logs(self) -> AsyncIterator[LogLine]:
        """Yield each line that it prints from now on, until it is removed."""
        return self.kept.follow()

    def stats(self) -> BoxStats:
        """Return what it does and has taken."""
        return self._house.stats(self, self._life)
