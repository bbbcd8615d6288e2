"""A box of any level without a runtime: its guest, told to run commands. Usable outside of pytest."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from shoal.boxes import boxwire, wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.launch import BOX_PATH, LaunchOrder
from shoal.boxes.levels import import_path, launcher_for
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.kernel.clock import RealClock

__all__ = ["Launched", "Said", "launched"]

WITHIN = 30.0


class Said(msgspec.Struct):
    """How a command ended."""

    code: int
    out: str
    err: str


class Launched:
    """A started box that runs commands."""

    def __init__(self, level: str, spec: BoxSpec, limits: BoxLimits) -> None:
        self.box_id = new_box_id()
        self.directory = state_directory(self.box_id)
        launcher = launcher_for(level)
        order = LaunchOrder(box_id=self.box_id, directory=self.directory, spec=spec, limits=limits)
        self.walls = launcher.build(order)
        self.child = ChildProcess(self.walls, level, 11 << 20, RealClock())
        self.child.owner = self
        self.lines: list[str] = []
        self.python = spec.python or ("/usr/bin/python3" if spec.rootfs or spec.image else sys.executable)
        self._streams: dict[int, bytearray] = {}
        self._ends: dict[int, asyncio.Future[boxwire.ExecEnd]] = {}
        self._numbers = itertools.count(1)
        path = import_path(level, spec)
        assign = boxwire.AssignBox(
            name="box",
            path=path,
            env={"PATH": BOX_PATH, "HOME": self.walls.home, "LANG": "C.UTF-8", **spec.env},
            rlimits={"nofile": limits.open_files, "core": 0, **self._counted(limits)},
        )
        for record in (wire.Preload(path=path, load=("shoal_guest.box",)), assign):
            self.child.channel.send(wire.encode_record(record))

    def _counted(self, limits: BoxLimits) -> dict[str, int]:
        by_guest = self.walls.holding is not None and self.walls.holding.held["pids"] == "rlimit"
        return {"nproc": limits.pids} if by_guest else {}

    async def hello(self) -> wire.Hello:
        """Return its first frame."""
        async with asyncio.timeout(WITHIN):
            ends: list[asyncio.Future[Any]] = [self.child.greeted, self.child.reaped]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        assert self.child.hello is not None, (self.child.violation, self.child.stderr.tail)
        return self.child.hello

    def start(self, *command: str) -> asyncio.Future[Said]:
        """Begin to run a command in it."""
        number = next(self._numbers)
        end = self._ends[number] = asyncio.get_running_loop().create_future()
        self.child.channel.send(wire.encode_record(boxwire.Exec(id=number, command=command, cwd=self.walls.home)))

        async def finish() -> Said:
            record = await end
            out, err = (self._streams.pop(2 * number + place, bytearray()).decode(errors="replace") for place in (0, 1))
            if record.error is not None:
                err += f"{record.error.type}: {record.error.text}"
            return Said(record.exit_code, out, err)

        return asyncio.ensure_future(finish())

    async def run(self, code: str, *args: str) -> Said:
        """Run Python code in it to its end."""
        async with asyncio.timeout(WITHIN):
            return await self.start(self.python, "-I", "-S", "-c", code, *args)

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        async with asyncio.timeout(WITHIN):
            return await asyncio.shield(self.child.reaped)

    def on_frame(self, kind: int, body: bytes) -> None:
        record = wire.decode_record(kind, body, boxwire.from_box)
        if isinstance(record, wire.Block):
            self._streams.setdefault(record.stream, bytearray()).extend(record.data)
        elif isinstance(record, boxwire.ExecEnd):
            self._ends[record.id].set_result(record)

    def on_line(self, stream: str, line: str) -> None:
        self.lines.append(f"{stream}: {line}")

    def on_exit(self, code: int) -> None:
        for end in self._ends.values():
            if not end.done():
                end.set_result(
                    boxwire.ExecEnd(id=0, exit_code=code, error=wire.ErrorRecord(type="Dead", text=str(code)))
                )


@asynccontextmanager
async def launched(level: str, spec: BoxSpec | None = None, limits: BoxLimits | None = None) -> AsyncIterator[Launched]:
    """Start a box, hear its hello, and take everything down at the end."""
    spec, limits = spec or BoxSpec(), limits or BoxLimits()
    await launcher_for(level).prepare(spec)
    box = Launched(level, spec, limits)
    try:
        await box.hello()
        yield box
    finally:
        box.child.kill()
        await box.ended()
        await box.walls.remove()
        forget_directory(box.box_id)
