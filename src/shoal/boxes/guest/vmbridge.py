"""What the init of a virtual machine (``shim.py``) does while the box lives: it carries what is said both ways."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket

TYPE_CHECKING = False  # importing typing takes long in a machine that is interpreted
if TYPE_CHECKING:
    from shoal.boxes.guest import vmwire
else:
    import vmwire

__all__ = ["GROUP", "Bridge", "read_port"]

GROUP = "/sys/fs/cgroup/box"
_UNSENT = 256 * 1024  # bytes that the host has not taken before the guest has to wait
_PIECE = 64 * 1024  # a pipe holds no more, so one read empties it


def read_port(port: int) -> bytes:
    """Return what has arrived, at most 128 KiB: one read of a port gives no more than a page."""
    pieces: list[bytes] = []
    with contextlib.suppress(BlockingIOError):
        while len(pieces) < 32 and (piece := os.read(port, _PIECE)):
            pieces.append(piece)
    return b"".join(pieces)


def was_out_of_memory() -> bool:
    """Tell whether the kernel has killed the box for its memory."""
    with open(f"{GROUP}/memory.events", encoding="ascii") as file:
        return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in file)


class Bridge:
    """Carries everything between the guest and the port until the guest has ended."""

    def __init__(self, port: int, records: vmwire.Records, guest: tuple[int, socket.socket, int, int]) -> None:
        """Take over a started guest. *records* cuts what comes from the port, and may have begun one."""
        self._port = port
        self._pid, self._channel, out, err = guest
        self._outputs = {out: vmwire.STDOUT, err: vmwire.STDERR}
        for fd in (self._channel.fileno(), out, err):
            os.set_blocking(fd, False)
        self._to_host = bytearray()
        self._to_guest = bytearray()
        self._records = records
        self._channel_open = True
        self._children, children = os.pipe()
        for fd in (self._children, children):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(children, warn_on_full_buffer=False)

    def run(self) -> None:
        """Return when the guest has ended and the host has all that it said."""
        code = self._reap()
        while code is None:
            ready = self._wait()
            if self._port in ready:
                self._port_ready(ready[self._port])
            self._guest_ready(ready)
            if self._children in ready:
                os.read(self._children, _PIECE)
                code = self._reap()
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        self._last_words()
        self._to_host += vmwire.record(vmwire.EXIT, bytes([code, was_out_of_memory()]))
        while self._to_host:
            self._wait()
            self._write_host()

    def _wait(self) -> dict[int, int]:
        waiting = select.poll()
        waiting.register(self._port, select.POLLIN | (select.POLLOUT if self._to_host else 0))
        waiting.register(self._children, select.POLLIN)
        listening = select.POLLIN if len(self._to_host) < _UNSENT else 0
        for fd in self._outputs:
            waiting.register(fd, listening)
        if self._channel_open:
            waiting.register(self._channel, listening | (select.POLLOUT if self._to_guest else 0))
        return dict(waiting.poll())

    def _port_ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._write_host()
        if events & select.POLLIN:
            self.take(self._records.feed(read_port(self._port)))

    def take(self, records: list[tuple[int, bytes]]) -> None:
        """Do what the host wants."""
        for kind, body in records:
            if kind == vmwire.SIGNAL:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(-1, body[0])
            elif kind == vmwire.CHANNEL:
                self._give(body)

    def _give(self, data: bytes) -> None:
        if not data and self._channel_open:
            self._channel.shutdown(socket.SHUT_WR)
        self._to_guest += data
        self._write_guest()

    def _guest_ready(self, ready: dict[int, int]) -> None:
        channel = self._channel.fileno()
        events = ready.get(channel, 0) if self._channel_open else 0
        if events & select.POLLOUT:
            self._write_guest()
        said = self._read_channel() if events & ~select.POLLOUT else b""
        # What it printed before a frame goes before it: it is in the pipe by now.
        for fd in list(self._outputs):
            if said or fd in ready:
                self._read_output(fd)
        if said:
            self._to_host += vmwire.record(vmwire.CHANNEL, said)
        self._write_host()

    def _read_channel(self) -> bytes:
        try:
            data = os.read(self._channel.fileno(), _PIECE)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._channel_open = False
            self._to_host += vmwire.record(vmwire.CHANNEL)
        return data

    def _read_output(self, fd: int) -> bool:
        try:
            data = os.read(fd, _PIECE)
        except BlockingIOError:
            return False
        if data:
            self._to_host += vmwire.record(self._outputs[fd], data)
        else:
            del self._outputs[fd]
            os.close(fd)
        return bool(data)

    def _last_words(self) -> None:
        """Read what is left; nobody is there any more to say more."""
        while self._channel_open and (said := self._read_channel()):
            self._to_host += vmwire.record(vmwire.CHANNEL, said)
        for fd in list(self._outputs):
            while self._read_output(fd):
                pass

    def _write_host(self) -> None:
        while self._to_host:
            try:
                sent = os.write(self._port, self._to_host)
            except BlockingIOError:
                return
            del self._to_host[:sent]

    def _write_guest(self) -> None:
        while self._to_guest and self._channel_open:
            try:
                sent = os.write(self._channel.fileno(), self._to_guest)
            except BlockingIOError:
                return
            except OSError:  # the guest is ending: its channel has no reader
                self._to_guest.clear()
                return
            del self._to_guest[:sent]

    def _reap(self) -> int | None:
        """Take in every process that has ended; returns the guest's code when it is among them."""
        code = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return code
            if pid == 0:
                return code
            if pid == self._pid:
                exited = os.waitstatus_to_exitcode(status)
                code = exited if exited >= 0 else 128 - exited
