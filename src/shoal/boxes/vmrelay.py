"""Stands between a runtime and a virtual machine: ``python -I -S vmrelay.py PARENT SETUP COMMAND...``.

To the runtime it is the box: fd 0 is the channel, fd 1 and 2 are what the box prints, its exit code is the box's, and
what it is signalled is signalled in the box. COMMAND starts the machine; ``{port}`` in it becomes the number of the
descriptor of the machine's serial port. SETUP is a file with JSON. Standard library only.

It carries at most 16 MiB that the runtime has not read; then the machine has to wait.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shoal.boxes.guest import vmwire
else:
    sys.path.append(str(Path(__file__).parent / "guest"))
    import vmwire

PARENT_GONE = 70
_OUT_OF_MEMORY = b"Out of memory"
_PANIC = b"Kernel panic"
_UNREAD = 16 << 20  # bytes that the runtime has not taken
_UNSENT = 1 << 20  # bytes that the machine has not taken
_PIECE = 64 * 1024
_KEPT = 8192
_NOT_CARRIED = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT, signal.SIGCHLD, signal.SIGTSTP, signal.SIGPIPE}


class Console:
    """The last that the machine's kernel, and QEMU itself, printed."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.tail = b""

    def read(self) -> bool:
        """Take in what is there; False at its end."""
        try:
            data = os.read(self.fd, _PIECE)
        except BlockingIOError:
            return True
        self.tail = (self.tail + data)[-_KEPT:]
        return bool(data)


class Relay:
    """Carries everything between the runtime and one machine."""

    def __init__(self, setup: dict[str, object], command: list[str], directory: Path) -> None:
        self._setup = setup
        self._directory = directory
        self._signals = _catch_signals()
        self._port, theirs = socket.socketpair()
        with theirs:
            number = str(theirs.fileno())
            self._process = subprocess.Popen(
                [word.replace("{port}", number) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                restore_signals=True,
            )
        assert self._process.stdout is not None
        self._console: Console | None = Console(self._process.stdout.fileno())
        self._tail = self._console
        self._channel: int | None = 0
        for fd in (0, self._port.fileno()):
            os.set_blocking(fd, False)
        self._records = vmwire.Records()
        self._to_runtime = bytearray()
        self._to_machine = bytearray()
        self._before_setup = bytearray()  # nothing may reach the machine before its setup
        self._booted = False
        self._hung_up = False  # the box has closed its channel
        self.code: int | None = None

    def run(self) -> int:
        """Return the box's exit code, or the machine's when that ended without a word."""
        alive = True
        while alive and self.code is None:
            ready = self._wait()
            if self._signals in ready:
                for number in os.read(self._signals, _PIECE):
                    self._send(vmwire.record(vmwire.SIGNAL, bytes([number])))
            if self._channel is not None and self._channel in ready:
                self._channel_ready(ready[self._channel])
            if self._port.fileno() in ready:
                alive = self._port_ready(ready[self._port.fileno()])
            if self._console is not None and self._console.fd in ready and not self._console.read():
                self._console = None
        self._flush_runtime()
        return self.code if self.code is not None else self._ended()

    def _wait(self) -> dict[int, int]:
        waiting = select.poll()
        waiting.register(self._signals, select.POLLIN)
        if self._console is not None:
            waiting.register(self._console.fd, select.POLLIN)
        unread = len(self._to_runtime) < _UNREAD
        unsent = len(self._to_machine) + len(self._before_setup) < _UNSENT
        sending = select.POLLOUT if self._to_machine else 0
        waiting.register(self._port, (select.POLLIN if unread else 0) | sending)
        if self._channel is not None:
            answering = select.POLLOUT if self._to_runtime else 0
            waiting.register(self._channel, (select.POLLIN if unsent else 0) | answering)
        return dict(waiting.poll())

    def _send(self, data: bytes) -> None:
        if not self._booted:
            self._before_setup += data
            return
        self._to_machine += data
        self._write_machine()

    def _write_machine(self) -> None:
        while self._to_machine:
            try:
                sent = self._port.send(self._to_machine)
            except OSError:  # it takes no more now, or has ended; reading tells
                return
            del self._to_machine[:sent]

    def _channel_ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._write_runtime()
        if not events & ~select.POLLOUT:
            return
        try:
            data = os.read(0, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._send(vmwire.record(vmwire.CHANNEL, data))
        if not data:
            self._channel = None  # its writing half may live on, and is not waited for

    def _port_ready(self, events: int) -> bool:
        if events & select.POLLOUT:
            self._write_machine()
        if not events & ~select.POLLOUT:
            return True
        try:
            data = self._port.recv(_PIECE)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        for kind, body in self._records.feed(data):
            self._take(kind, body)
        return bool(data)

    def _take(self, kind: int, body: bytes) -> None:
        if kind == vmwire.BOOTED:
            self._greet()
        elif kind == vmwire.CHANNEL and body:
            self._to_runtime += body
            self._write_runtime()
        elif kind == vmwire.CHANNEL:
            self._hung_up = True
            self._write_runtime()
        elif kind in (vmwire.STDOUT, vmwire.STDERR):
            # What was printed is with the runtime before the frame that follows it.
            _write_all(1 if kind == vmwire.STDOUT else 2, body)
        elif kind == vmwire.EXIT:
            self.code, out_of_memory = body
            if out_of_memory:
                self._note_memory()

    def _greet(self) -> None:
        """Send the setup, with the time and the chance of this very moment."""
        if self._booted:
            return
        fresh = {"time": time.time(), "seed": base64.b64encode(os.urandom(64)).decode()}
        self._booted = True
        self._send(vmwire.record(vmwire.SETUP, json.dumps({**self._setup, **fresh}).encode()) + self._before_setup)
        self._before_setup.clear()

    def _write_runtime(self) -> None:
        while self._to_runtime:
            try:
                sent = os.write(0, self._to_runtime)
            except BlockingIOError:
                return
            except OSError:  # the runtime has closed its end
                self._to_runtime.clear()
                return
            del self._to_runtime[:sent]
        if self._hung_up:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(0)) as channel:
                channel.shutdown(socket.SHUT_WR)

    def _flush_runtime(self) -> None:
        """Hand over what the box said last. What it is still sent is dropped: a runtime that is not read may not read."""
        while self._to_runtime and self._channel is not None:
            waiting = select.poll()
            waiting.register(self._channel, select.POLLIN | select.POLLOUT)
            ((_, events),) = waiting.poll()
            if events & select.POLLOUT:
                self._write_runtime()
            if events & ~select.POLLOUT:
                self._drop()

    def _drop(self) -> None:
        try:
            data = os.read(0, _PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._channel = None

    def _ended(self) -> int:
        """Say how a machine ended that said nothing; 137, and a file ``oom``, when it was out of memory."""
        code = self._process.wait()
        while self._console is not None and self._console.read():
            select.select([self._console.fd], [], [])
        tail = self._tail.tail
        if _OUT_OF_MEMORY in tail:
            self._note_memory()
            return 128 + signal.SIGKILL
        text = f"the virtual machine ended (exit code {code}); the last of its console:\n".encode()
        panic = tail.find(b"\n", tail.find(_PANIC))  # what follows are registers
        _write_all(2, text + tail[: panic if _PANIC in tail else None].replace(b"\r", b"").rstrip() + b"\n")
        if code < 0:
            return 128 - code
        return code or 1

    def _note_memory(self) -> None:
        (self._directory / "oom").touch()

    def close(self) -> None:
        """End the machine."""
        self._process.kill()
        self._process.wait()


def _catch_signals() -> int:
    """Return a descriptor on which the numbers of signals arrive."""
    arriving, arrive = os.pipe()
    for fd in (arriving, arrive):
        os.set_blocking(fd, False)
    for number in signal.valid_signals() - _NOT_CARRIED:
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(arrive, warn_on_full_buffer=False)
    return arriving


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BrokenPipeError:
            return


def _end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends (prctl PR_SET_PDEATHSIG); the machine ends with it."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
    if os.getppid() != parent:
        os._exit(PARENT_GONE)


def main() -> None:
    """Start the machine, carry, and leave with the box's exit code."""
    parent, file, *command = sys.argv[1:]
    _end_with_parent(int(parent))
    setup = json.loads(Path(file).read_bytes())
    Path(file).unlink()  # it may hold secrets of the box's environment
    relay = Relay(setup, command, Path(file).parent)
    try:
        code = relay.run()
    except ValueError as error:  # a BrokenWire among them
        _write_all(2, f"the virtual machine speaks another language: {error}\n".encode())
        code = 1
    finally:
        relay.close()
    os._exit(code)


if __name__ == "__main__":
    main()
