"""What runs code in a box and watches it: the box's own process, in which nothing of that code runs.

The code runs in a child. Its output and its end are seen from here, and what its tests say comes by a pipe that only the
child has: nothing that it prints, no file that it writes and no exit code makes a success. A child that ends before its
tests are over, or otherwise than they say, or that leaves some out, has failed. This process is hidden from the child, which
can neither trace it nor look into it; a child that kills it ends the box, and that is no success either.

What remains possible: tests and what they test are code in one process. Code that means to can reach into the test
runner there and have it report what it likes. Against that there is only a reader.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from shoal.orchestration.workflow.codeguest.heard import Heard
from shoal.orchestration.workflow.codeguest.lines import Statements

__all__ = ["Run", "watch"]

_OUTPUT_BYTES = 1 << 20
_PIECE = 1 << 16
_TURN = 32  # pieces: more than a pipe holds, so that one turn reads all that is left of a child that has ended
_LOOK_AGAIN = 0.02  # seconds, where the kernel has no pidfd
_TESTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tester.py")
_PR_SET_DUMPABLE = 4
_NO_TESTS = 5
_CANNOT_RUN = 127


def watch(job: dict[str, Any]) -> dict[str, Any]:
    """Write the files, run what is wanted, and return what happened, as JSON values.

    *job* has ``files`` (text by path), ``command`` (None: run the tests), ``tests`` and ``sources`` (paths), and
    ``timeout`` in seconds. Bytes come back as base64.
    """
    _hide()
    for path, text in job["files"].items():
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    run = Run(job["timeout"])
    if job["command"] is not None:
        run.start(job["command"])
        return run.finish()
    sources = {path: job["files"][path] for path in job["sources"]}
    if not job["tests"]:
        run.exit_code = _NO_TESTS
        return run.finish() | {"tests": {}, "coverage": _percent(_statements(sources), {})}
    return _test(run, job["tests"], sources)


def _hide() -> None:
    """Let no process of this user trace this one, or open its memory and its descriptors (prctl PR_SET_DUMPABLE)."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the process that watches cannot be hidden")


def _test(run: Run, tests: list[str], sources: Mapping[str, str]) -> dict[str, Any]:
    word = os.urandom(16).hex()
    heard = Heard(word)
    reading, writing = os.pipe()
    what = json.dumps({"word": word, "path": sys.path, "tests": tests, "sources": list(sources)}).encode()
    run.start([sys.executable, "-I", "-S", _TESTER, str(writing)], what, writing)
    os.close(writing)
    statements = _statements(sources)  # while it starts
    done = run.finish({reading: heard.take})
    found = heard.result(run.exit_code, timed_out=run.timed_out)
    return done | {"tests": found, "coverage": _percent(statements, heard.lines)}


def _statements(sources: Mapping[str, str]) -> dict[str, Statements]:
    return {path: Statements(text) for path, text in sources.items()}


def _percent(statements: Mapping[str, Statements], seen: Mapping[str, list[int]]) -> float | None:
    """Return the executed lines in percent of the executable ones; None when there are none."""
    executable = sum(len(each.lines) for each in statements.values())
    executed = sum(len(each.executed(seen.get(path, ()))) for path, each in statements.items())
    return 100 * executed / executable if executable else None


class Run:
    """One child, from its start to its end."""

    def __init__(self, timeout: float) -> None:
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}
        self.exit_code: int | None = None  # None: it was killed
        self.timed_out = False

    def start(self, command: list[str], stdin: bytes | None = None, report: int | None = None) -> None:
        """Start it; what is no program ends at once, as in a shell."""
        programs = os.path.dirname(sys.executable)
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        env["PATH"] = f"{programs}:{env['PATH']}" if "PATH" in env else programs
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                pass_fds=() if report is None else (report,),
                process_group=0,
            )
        except OSError as error:
            self.exit_code = _CANNOT_RUN
            self._kept["stderr"] += f"{command[0]}: {error.strerror}\n".encode("utf-8", "backslashreplace")
            return
        if stdin is not None and self._process.stdin is not None:
            try:
                with self._process.stdin as pipe:
                    pipe.write(stdin)
            except BrokenPipeError:
                return  # it has ended: that is seen

    def finish(self, hear: Mapping[int, Callable[[bytes], None]] | None = None) -> dict[str, Any]:
        """Read from it until it has ended, or its time is up; returns what happened."""
        if self._process is not None:
            process = self._process
            assert process.stdout is not None and process.stderr is not None
            takers = {process.stdout.fileno(): self._keep("stdout"), process.stderr.fileno(): self._keep("stderr")}
            self._carry(process, {**takers, **(hear or {})})
            code = process.wait()
            self.exit_code = code if code >= 0 and not self.timed_out else None
        output = {name: base64.b64encode(data).decode() for name, data in self._kept.items()}
        took = (time.monotonic() - self._began) * 1000
        return {**output, "exit_code": self.exit_code, "timed_out": self.timed_out, "duration_ms": took}

    def _keep(self, name: str) -> Callable[[bytes], None]:
        kept = self._kept[name]

        def keep(data: bytes) -> None:
            kept.extend(data[: _OUTPUT_BYTES - len(kept)])

        return keep

    def _carry(self, process: subprocess.Popen[bytes], takers: dict[int, Callable[[bytes], None]]) -> None:
        waiting = select.poll()
        for fd in takers:
            os.set_blocking(fd, False)
            waiting.register(fd, select.POLLIN)
        pidfd = _pidfd(process.pid)
        if pidfd is not None:
            waiting.register(pidfd, select.POLLIN)
        over = False
        while not over:  # what it started in the background may keep the pipes; nobody waits for that
            left = self._deadline - time.monotonic()
            if left <= 0:
                self.timed_out = over = True
                _kill(process)
            else:
                waiting.poll(1000 * (left if pidfd is not None else min(left, _LOOK_AGAIN)))
                over = process.poll() is not None
            for fd in _read(takers):
                waiting.unregister(fd)
                del takers[fd]


def _read(takers: Mapping[int, Callable[[bytes], None]]) -> list[int]:
    """Hand on what has come; returns the pipes that were closed."""
    closed = []
    for fd, take in takers.items():
        for _ in range(_TURN):
            try:
                data = os.read(fd, _PIECE)
            except BlockingIOError:
                break
            if not data:
                closed.append(fd)
                break
            take(data)
    return closed


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has another group now: itself all the same
        process.kill()


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
