"""Stands between an MCP server and who started it: ``python -I -S mcpguard.py PARENT COMMAND...``. Standard library only.

The server has this process's stdin, stdout and stderr, and is in its process group. When PARENT ends, however it ends, or
the server does, everything that the server started is killed, in other process groups and sessions, too.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

NOT_FOUND, PARENT_GONE = 127, 70
LOOK_SECONDS = 0.5  # how often to look for the parent where the kernel cannot tell of its end
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Start the server and wait for the first end of the two."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    # Whoever in the tree loses his parent becomes a child of this process, so that he is still found.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watched = _watch(parent)
    if os.getppid() != parent:
        return PARENT_GONE
    ears, mouth = os.pipe()
    os.set_blocking(mouth, False)
    signal.set_wakeup_fd(mouth)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)
    try:
        server = subprocess.Popen(command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return NOT_FOUND
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # who reads it must see its end when the server's does
    code = _wait(server, parent, watched, ears)
    _kill_all()
    return code


_asked_to_end = False


def _note(number: int, _: object) -> None:
    global _asked_to_end
    _asked_to_end = _asked_to_end or number != signal.SIGCHLD


def _watch(parent: int) -> int | None:
    try:
        return os.pidfd_open(parent)
    except (OSError, AttributeError):
        return None


def _wait(server: subprocess.Popen[bytes], parent: int, watched: int | None, ears: int) -> int:
    fds = [ears] if watched is None else [ears, watched]
    while True:
        code = server.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
        if os.getppid() != parent or _asked_to_end:
            return PARENT_GONE
        ready, _, _ = select.select(fds, [], [], LOOK_SECONDS if watched is None else None)
        if ears in ready:
            os.read(ears, 4096)
            _reap_others(server)


def _reap_others(server: subprocess.Popen[bytes]) -> None:
    """Reap whoever became a child of this process when his parent ended; the server is for its Popen."""
    for pid in _children(os.getpid()):
        if pid != server.pid:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _children(pid: int) -> Iterator[int]:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())
        except OSError:
            continue


def _kill_all() -> None:
    """Kill all descendants; who forks meanwhile is found in the next round."""
    while found := list(_children(os.getpid())):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for pid in found:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue


if __name__ == "__main__":
    sys.exit(main())
