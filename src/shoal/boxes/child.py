"""A started child: its process, its channel and its output, whatever walls stand around it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
from typing import Protocol

from shoal.boxes import wire
from shoal.boxes.guest.channel import Channel
from shoal.boxes.guest.frames import FrameError, Splitter
from shoal.boxes.launch import Launch, Walls
from shoal.boxes.output import Output
from shoal.boxes.procfs import started_at
from shoal.boxes.reaper import Reaper
from shoal.errors import BoxStartError, ProtocolError
from shoal.kernel.ports import Clock

__all__ = ["ChildProcess", "Owner"]

_CLOSED_BUT_ALIVE = 0.5  # seconds that a child which closed its channel has to end by itself


class Owner(Protocol):
    """Who hears of a child."""

    def on_frame(self, kind: int, body: bytes) -> None:
        """Take a frame. Raises ProtocolError, which ends the child."""
        ...

    def on_line(self, stream: str, line: str) -> None:
        """Take a line of its output."""
        ...

    def on_exit(self, code: int) -> None:
        """Hear that it has ended, after all its frames and output."""
        ...


class ChildProcess:
    """A started child: process, channel and output. Made whole in one go, so no cancellation can tear it."""

    def __init__(self, walls: Walls, level: str, max_frame: int, clock: Clock) -> None:
        """Start it on the running loop's thread, because the kernel's death signal follows that thread.

        Raises BoxStartError.
        """
        loop = asyncio.get_running_loop()
        self._clock = clock
        self.owner: Owner | None = None
        self.hello: wire.Hello | None = None
        self.greeted: asyncio.Future[wire.Hello] = loop.create_future()
        self.violation: str | None = None
        self.reaped: asyncio.Future[int] = loop.create_future()
        self._loop = loop
        process, ours = _spawn(walls.launch, level)
        try:
            self._made_whole(process, ours, walls, level, max_frame)
        except OSError as error:
            raise _not_started(walls.launch, level, error) from error

    def _made_whole(
        self, process: subprocess.Popen[bytes], ours: socket.socket, walls: Walls, level: str, max_frame: int
    ) -> None:
        with contextlib.ExitStack() as undo:
            undo.callback(_end, process, ours)
            assert process.stdout is not None and process.stderr is not None
            self.walls = walls
            self.level = level
            walls.started(process.pid)
            self.pid = process.pid
            self.pid_started = started_at(process.pid)
            self.stdout = Output(self._loop, _take(process.stdout), "stdout", self._on_line)
            undo.callback(self.stdout.close)
            self.stderr = Output(self._loop, _take(process.stderr), "stderr", self._on_line)
            undo.callback(self.stderr.close)
            self._printed = select.poll()
            self._printed.register(self.stdout.fd, select.POLLIN)
            self._printed.register(self.stderr.fd, select.POLLIN)
            splitter = Splitter(max_frame)
            self.channel = Channel(self._loop, ours.detach(), splitter, self._on_frame, self._on_end)
            undo.callback(self.channel.close)
            self.reaper = Reaper(self._loop, process, self._on_exit)
            undo.pop_all()

    def kill(self) -> None:
        """End it and its whole process group now; nothing when it has been reaped."""
        if not self.reaped.done():
            self.walls.kill()

    def _on_frame(self, kind: int, body: bytes) -> None:
        # What it printed before the frame is told before it. Asking whether there is something costs a fifth of reading.
        if self._printed.poll(0):
            self.stdout.read()
            self.stderr.read()
        try:
            if self.hello is None:
                self.hello = _greeting(kind, body)
                self.greeted.set_result(self.hello)
            elif self.owner is not None:
                self.owner.on_frame(kind, body)
        except ProtocolError as error:
            self._violated(str(error))
        except BaseException:
            # Half of it may have been done: whoever waits for this child hears of its end, and the loop of the error.
            self._violated("a frame of it could not be acted on")
            raise

    def _on_line(self, stream: str, line: str) -> None:
        if self.owner is not None:
            self.owner.on_line(stream, line)

    def _on_end(self, error: FrameError | None) -> None:
        if error is not None:
            self._violated(str(error))
        else:
            # As a rule it is ending; who only closed its channel can never be spoken to again.
            self._clock.call_later(_CLOSED_BUT_ALIVE, self._kill_who_closed)

    def _kill_who_closed(self) -> None:
        if self.channel.torn and not self.reaped.done():
            self._violated("half a frame, and then the end of the channel")
        self.kill()

    def _violated(self, text: str) -> None:
        self.violation = self.violation or f"protocol: {text}"
        self.channel.close()
        self.kill()

    def _on_exit(self, code: int) -> None:
        with contextlib.ExitStack() as told:  # from the last to the first; whatever one of them raises, all are done
            told.callback(self.reaped.set_result, code)
            if self.owner is not None:
                told.callback(self.owner.on_exit, code)
            told.callback(self.greeted.cancel)
            told.callback(self.stderr.drain)
            told.callback(self.stdout.drain)
            told.callback(self.channel.close)
            told.callback(self.channel.drain)


def _spawn(launch: Launch, level: str) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start a command; returns it and our end of its channel."""
    try:
        with contextlib.ExitStack() as undo:
            ours, theirs = socket.socketpair()
            undo.callback(ours.close)
            with theirs:
                process = subprocess.Popen(
                    launch.command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=launch.env,
                    cwd=launch.cwd,
                    pass_fds=launch.fds,
                    start_new_session=True,
                )
            undo.pop_all()
        return process, ours
    except OSError as error:
        raise _not_started(launch, level, error) from error
    finally:
        for fd in launch.fds:
            os.close(fd)


def _not_started(launch: Launch, level: str, error: OSError) -> BoxStartError:
    text = f"a child could not be started: {launch.command[0]}: {error}"
    return BoxStartError(text, level=level, phase="launch")


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    """Take back a command that was started and has nobody who could speak to it."""
    ours.close()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _greeting(kind: int, body: bytes) -> wire.Hello:
    hello = wire.decode_record(kind, body, wire.from_guest)
    if not isinstance(hello, wire.Hello):
        raise ProtocolError("the first frame is not hello")
    if hello.protocol[0] != wire.PROTOCOL[0]:
        raise ProtocolError(f"the child speaks version {hello.protocol}, this is {wire.PROTOCOL}")
    return hello


def _take(pipe: object) -> int:
    """Return a descriptor of its own for a pipe that Popen would close."""
    fd = os.dup(pipe.fileno())  # type: ignore[attr-defined]
    pipe.close()  # type: ignore[attr-defined]
    return fd
