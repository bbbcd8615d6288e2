"""What a host has done in a box beside its program: commands, and files there and back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from shoal.boxes import boxwire, wire
from shoal.boxes.faults import rebuild_error
from shoal.boxes.guest.frames import blocks
from shoal.boxes.results import ExecResult
from shoal.errors import BoxError, DeadAgentError, PayloadTooLargeError, ProtocolError
from shoal.kernel.failure import RemoteError
from shoal.kernel.ports import Clock

__all__ = ["FILE_LIMIT", "Errands"]

FILE_LIMIT = 64 << 20
"""Bytes of a file that goes into a box or comes out of it, and of all collected outputs together."""
_OUTPUTS = 100_000
_FILES = 1 << 40  # streams of files are numbered from here, out of the way of the commands' two


class _Command:
    """One running command: its streams so far, and who waits for its end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.ended: asyncio.Future[boxwire.ExecEnd] = loop.create_future()


class Errands:
    """The open commands and files of one incarnation."""

    def __init__(self, send: Callable[[bytes], None], clock: Clock, collects: bool) -> None:
        """*send* writes to the box; *collects*: whether it may send outputs that nobody asked for by name."""
        self._send = send
        self._clock = clock
        self._collects = collects
        self._numbers = itertools.count(1)
        self._commands: dict[int, _Command] = {}
        self._files: dict[int, asyncio.Future[boxwire.File]] = {}
        self._incoming: dict[int, bytearray] = {}
        self._outputs: dict[int, bytearray] = {}
        self._collected = 0
        self._limits: dict[int, int] = {}

    def stream(self, data: bytes) -> int:
        """Send bytes ahead of the record that needs them; returns the number of their stream."""
        number = next(self._numbers)
        self._send_stream(number, data)
        return number

    def _send_stream(self, number: int, data: bytes) -> None:
        for block in blocks(number, data):
            self._send(block)

    # -- commands

    async def run(
        self, command: Sequence[str], stdin: bytes, env: Mapping[str, str], cwd: str | None, max_output: int
    ) -> ExecResult:
        """Run a command and wait for its end; cancelled, it ends the command."""
        number = self.stream(stdin)
        running = self._commands[number] = _Command(asyncio.get_running_loop())
        self._limits[number] = max_output
        began = self._clock.monotonic()
        self._send(
            wire.encode_record(
                boxwire.Exec(id=number, command=tuple(command), env=dict(env), cwd=cwd, max_output=max_output)
            )
        )
        try:
            end = await asyncio.shield(running.ended)
        except asyncio.CancelledError:
            self._send(wire.encode_record(boxwire.ExecKill(id=number)))
            running.ended.add_done_callback(lambda _: self._forget(number))
            raise
        self._forget(number)
        if end.error is not None:
            raise _refused(f"box cannot run {command[0]!r:.200}", end.error)
        return ExecResult(
            exit_code=end.exit_code,
            stdout=running.stdout.decode("utf-8", "backslashreplace"),
            stderr=running.stderr.decode("utf-8", "backslashreplace"),
            duration_ms=round((self._clock.monotonic() - began) * 1000, 3),
            truncated=end.truncated,
        )

    def _forget(self, number: int) -> None:
        running = self._commands.pop(number, None)
        self._limits.pop(number, None)
        if running is not None and running.ended.done() and not running.ended.cancelled():
            running.ended.exception()

    def ended(self, record: boxwire.ExecEnd) -> None:
        """Take the end of a command."""
        running = self._commands.get(record.id)
        if running is not None and not running.ended.done():
            running.ended.set_result(record)

    # -- files

    async def put(self, path: str, data: bytes) -> None:
        """Write a file in the box."""
        if len(data) > FILE_LIMIT:
            raise PayloadTooLargeError(len(data), FILE_LIMIT, path=path)
        number = self.stream(data)
        await self._file(number, boxwire.PutFile(id=number, path=path, size=len(data)))

    async def get(self, path: str) -> bytes:
        """Read a file in the box."""
        number = _FILES + next(self._numbers)
        self._incoming[number] = bytearray()
        try:
            record = await self._file(number, boxwire.GetFile(id=number, path=path, limit=FILE_LIMIT))
            data = bytes(self._incoming[number])
        finally:
            del self._incoming[number]
        if len(data) != record.size:
            raise BoxError(f"{path}: {len(data)} bytes came, {record.size} were announced")
        return data

    async def _file(self, number: int, record: Any) -> boxwire.File:
        answer: asyncio.Future[boxwire.File] = asyncio.get_running_loop().create_future()
        self._files[number] = answer
        try:
            self._send(wire.encode_record(record))
            done = await answer
        finally:
            del self._files[number]
        if done.error is not None:
            raise _refused(f"box and file {record.path!r:.200}", done.error)
        return done

    def filed(self, record: boxwire.File) -> None:
        """Take the answer about a file."""
        answer = self._files.get(record.id)
        if answer is not None and not answer.done():
            answer.set_result(record)

    # -- streams of the box

    def block(self, block: wire.Block) -> None:
        """Take a piece of a stream. Raises ProtocolError for one that nobody asked for, or that is too long."""
        number = block.stream
        if number in self._incoming:
            self._grow(self._incoming[number], block.data, FILE_LIMIT)
        elif number >> 1 in self._commands:
            running = self._commands[number >> 1]
            target = running.stderr if number & 1 else running.stdout
            self._grow(target, block.data, self._limits[number >> 1])
        elif self._collects and number >= _FILES:
            target = self._outputs.setdefault(number, bytearray())
            self._collected += len(block.data)
            if self._collected > FILE_LIMIT or len(self._outputs) > _OUTPUTS:
                raise ProtocolError(f"outputs of over {FILE_LIMIT} bytes, or more than {_OUTPUTS} of them")
            target += block.data
        elif number < _FILES and number >> 1 >= 1:
            return  # of a command that nobody waits for any more
        else:
            raise ProtocolError(f"nobody asked for stream {number}")

    @staticmethod
    def _grow(target: bytearray, data: bytes, limit: int) -> None:
        if len(target) + len(data) > limit:
            raise ProtocolError(f"a stream of over {limit} bytes")
        target += data

    def outputs(self, numbers: Mapping[str, int]) -> dict[str, bytes]:
        """Return what was collected, by path. Raises ProtocolError for what `collect` cannot have found."""
        found = {}
        for path, number in numbers.items():
            if not self._collects or not path.startswith("/") or ".." in path.split("/"):
                raise ProtocolError(f"an output {path[:80]!r}")
            # Each stream is handed out once: many paths of one large stream would fill the memory here.
            found[path] = bytes(self._outputs.pop(number, b""))
        return found

    def fail(self, error: DeadAgentError) -> None:
        """End everything that is open: the box is gone."""
        for running in self._commands.values():
            if not running.ended.done():
                running.ended.set_exception(error)
        for answer in self._files.values():
            if not answer.done():
                answer.set_exception(error)


def _refused(what: str, record: wire.ErrorRecord) -> Exception:
    error = rebuild_error(record)
    return BoxError(f"{what}: {record.text}") if isinstance(error, RemoteError) else error
