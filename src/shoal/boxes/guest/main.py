"""The first code of a child: ``python -I -S main.py PARENT_PID set|unset``. Standard library only, and little of it.

The last argument tells whether the launcher has set the parent-death signal.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import sys

OWN_CHANNEL = 100  # the lowest number for the channel, out of the way of what user code opens
PROTOCOL = (1, 0)
PARENT_GONE = 70


def take_channel() -> int:
    """Move the channel away from fd 0 and point fd 0 at nothing, so that no reader of stdin can touch it."""
    channel = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, OWN_CHANNEL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return channel


def die_with_parent(parent: int) -> None:
    """Leave at once if the parent is gone already; what comes later, the death signal and the watchdog see."""
    if os.getppid() != parent:
        os._exit(PARENT_GONE)


def ask_for_death_signal() -> None:
    """Have the kernel kill this process when its parent ends (prctl PR_SET_PDEATHSIG), where no launcher did so."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


def send(channel: int, record: dict[str, object]) -> None:
    """Write one J frame."""
    body = json.dumps(record).encode()
    data = memoryview(struct.pack(">IB", len(body), ord("J")) + body)
    while data:
        data = data[os.write(channel, data) :]


def receive(channel: int) -> dict[str, object]:
    """Read one J frame and not a byte more."""
    length, _ = struct.unpack(">IB", read_exactly(channel, 5))
    record: dict[str, object] = json.loads(read_exactly(channel, length))
    return record


def read_exactly(channel: int, size: int) -> bytes:
    """Read *size* bytes; leave when the parent is gone."""
    data = b""
    while len(data) < size:
        piece = os.read(channel, size - len(data))
        if not piece:
            os._exit(PARENT_GONE)
        data += piece
    return data


def main() -> None:
    """Say hello, learn where to import from, then serve."""
    parent, death_signal = int(sys.argv[1]), sys.argv[2] == "set"
    channel = take_channel()
    if not death_signal:
        ask_for_death_signal()
    die_with_parent(parent)
    python = ".".join(map(str, sys.version_info[:3]))
    send(channel, {"type": "hello", "protocol": PROTOCOL, "guest": "shoal", "python": python, "pid": os.getpid()})
    preload = receive(channel)
    path = preload["path"]
    assert isinstance(path, list)
    sys.path[:] = path
    sys.argv[:] = [""]
    from shoal.boxes.guest.serve import serve

    serve(channel)


if __name__ == "__main__":
    main()
