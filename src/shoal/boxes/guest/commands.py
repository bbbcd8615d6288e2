"""Commands that the runtime runs in a box beside its program."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping

from .codec import Record, write_error, write_record
from .frames import JSON, blocks, frame
from .outbox import Outbox

_PIECE = 64 * 1024
_LOOK_AGAIN_MS = 20  # where the kernel has no pidfd


class Commands:
    """The running commands, each with a thread of its own."""

    def __init__(self, outbox: Outbox, env: Mapping[str, str]) -> None:
        self._outbox = outbox
        self._env = env
        self._running: dict[int, Command] = {}

    def take(self, record: Record, stdin: bytes) -> Command:
        """Return a command that is to be started; from now on it can be killed."""
        command = self._running[record["id"]] = Command(record, stdin, self._outbox, self._env)
        return command

    def start(self, command: Command) -> None:
        """Run a command; what it prints and its end are sent as they come."""
        try:
            threading.Thread(target=self._run, args=(command,), name="shoal-command", daemon=True).start()
        except RuntimeError as error:  # there may be no more threads
            self._ended(command, _failed(command, error))

    def _run(self, command: Command) -> None:
        try:
            end = command.run()
        except Exception as error:  # noqa: BLE001 - the runtime raises it
            end = _failed(command, error)
        self._ended(command, end)

    def _ended(self, command: Command, end: bytes) -> None:
        del self._running[command.number]
        self._outbox.post(end)

    def kill(self, number: int) -> None:
        """End a command and all of its process group."""
        command = self._running.get(number)
        if command is not None:
            command.kill()

    def kill_all(self) -> None:
        """End all of them: the box is leaving."""
        for command in list(self._running.values()):
            command.kill()


def _failed(command: Command, error: Exception) -> bytes:
    return frame(JSON, f'{{"type":"execend","id":{command.number},"error":{write_error(error)}}}'.encode())


class Command:
    """One command."""

    def __init__(self, record: Record, stdin: bytes, outbox: Outbox, env: Mapping[str, str]) -> None:
        self.number: int = record["id"]
        self._record = record
        self._stdin = memoryview(stdin)
        self._outbox = outbox
        self._env = env
        self._room = {False: record["max_output"], True: record["max_output"]}  # by whether it is stderr
        self._truncated = False
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def kill(self) -> None:
        """End it, or never let it begin."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.returncode is None:
                try:
                    os.killpg(self._process.pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    return

    def run(self) -> bytes:
        """Run it to its end; returns the frame that says so. Raises when it cannot be started."""
        with self._lock:
            if self._killed:
                return self._end(-signal.SIGKILL)
            process = self._process = subprocess.Popen(
                self._record["command"],
                stdin=subprocess.PIPE if self._stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._env, **self._record["env"]},
                cwd=self._record["cwd"],
                process_group=0,
            )
        with process:
            self._carry(process)
            with self._lock:
                code = process.wait()
        return self._end(code)

    def _end(self, code: int) -> bytes:
        return write_record(type="execend", id=self.number, exit_code=code, truncated=self._truncated)

    def _carry(self, process: subprocess.Popen[bytes]) -> None:
        """Carry its input and output until it has ended and what it printed is read."""
        assert process.stdout is not None and process.stderr is not None
        outputs = {process.stdout.fileno(): False, process.stderr.fileno(): True}
        waiting = select.poll()
        for fd in outputs:
            os.set_blocking(fd, False)
            waiting.register(fd, select.POLLIN)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            waiting.register(process.stdin.fileno(), select.POLLOUT)
        ended = _pidfd(process.pid)
        if ended is not None:
            waiting.register(ended, select.POLLIN)
        try:
            self._carry_until_ended(process, waiting, outputs, ended)
        finally:
            if ended is not None:
                os.close(ended)

    def _carry_until_ended(
        self, process: subprocess.Popen[bytes], waiting: select.poll, outputs: dict[int, bool], ended: int | None
    ) -> None:
        over = False
        while not over:  # what it started in the background may keep the pipes; nobody waits for that
            ready = waiting.poll(None if ended is not None else _LOOK_AGAIN_MS)
            over = _has_ended(process.pid)
            if process.stdin is not None and any(fd == process.stdin.fileno() for fd, _ in ready):
                self._feed(process, waiting)
            for fd in list(outputs):
                while (data := _read(fd)) is not None:
                    if not data:
                        waiting.unregister(fd)
                        del outputs[fd]
                        break
                    self._tell(outputs[fd], data)

    def _feed(self, process: subprocess.Popen[bytes], waiting: select.poll) -> None:
        assert process.stdin is not None
        fd = process.stdin.fileno()
        try:
            self._stdin = self._stdin[os.write(fd, self._stdin[:_PIECE]) :]
        except BlockingIOError:
            return
        except OSError:  # it reads no more
            self._stdin = memoryview(b"")
        if not self._stdin:
            waiting.unregister(fd)
            process.stdin.close()
            process.stdin = None

    def _tell(self, is_stderr: bool, data: bytes) -> None:
        room = self._room[is_stderr]
        self._truncated = self._truncated or len(data) > room
        self._room[is_stderr] = room - len(data[:room])
        for block in blocks(2 * self.number + is_stderr, data[:room]):
            self._outbox.post(block)


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, _PIECE)
    except BlockingIOError:
        return None


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # the program itself waits for any child, and got this one
        return True
