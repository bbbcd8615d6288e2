"""What a child is called in lists of processes: the end of its command line, and the name of its first thread.

A spare child is started before it is known which agent it will be. So its command line ends with room for a title, into
which the child writes it later, as ``setproctitle`` does: the kernel shows a command line as it stands in the memory of
its process.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["ROOM_FOR_TITLE", "show_title"]

ROOM_FOR_TITLE = " " * 80
"""The last argument of a child that can take a title later."""

_OPTION = b"\0--title\0"
_MOST = len(ROOM_FOR_TITLE) - len(_OPTION)
_COMM_BYTES = 15
_ARGUMENTS_BEGIN = 45  # of the fields of /proc/self/stat after the name: arg_start


def show_title(title: str) -> None:
    """Show *title*, of which 71 bytes have room. Where the kernel refuses it the old name stays: it is for people."""
    name = title.replace("\0", " ").encode()[:_MOST]
    with contextlib.suppress(OSError):
        _rename_thread(name)
        _end_command_line(name)


def _rename_thread(name: bytes) -> None:
    with open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(name[:_COMM_BYTES])


def _end_command_line(name: bytes) -> None:
    """Let the command line end with ``--title NAME``, in place of as many blanks."""
    with open("/proc/self/cmdline", "rb") as file:
        line = file.read()
    room = b"\0" + ROOM_FOR_TITLE.encode() + b"\0"
    if not line.endswith(room):
        return
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    written = _OPTION + name + b"\0"
    place = int(fields[_ARGUMENTS_BEGIN]) + len(line) - len(written)
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.pwrite(memory, written, place)
    finally:
        os.close(memory)
