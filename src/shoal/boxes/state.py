"""Where boxes keep what must be found again after their runtime was killed: a directory for each process that has boxes.

``BASE/PID-STARTED.NAMESPACE/BOX`` is made by whoever needs it (mode 0700). What belongs to a process that is gone is swept.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from shoal.boxes.cgroups import remove_groups
from shoal.boxes.procfs import started_at
from shoal.boxes.reaper import kill_orphan
from shoal.errors import BoxStartError

__all__ = [
    "forget_directory",
    "make_directory",
    "new_box_id",
    "note_groups",
    "note_process",
    "state_directory",
    "sweep_state",
]

_PROCESSES = "processes"
_GROUPS = "groups"
_ROUNDS = 10
_numbers = itertools.count(1)
_starts: dict[int, int] = {}  # of this process, and of those that it was forked from


def new_box_id() -> str:
    """Return a name for a box that no other box on this machine has. Raises BoxStartError."""
    pid = os.getpid()
    if pid not in _starts:
        started = started_at(pid)
        if (
            not started
        ):  # no file can be opened: under another name the next sweep would take its boxes for a dead one's
            raise BoxStartError("/proc cannot be read to tell when this process began", level="any", phase="launch")
        _starts[pid] = started
    return f"{pid}-{_starts[pid]}-{next(_numbers)}"


def state_directory(box_id: str) -> Path:
    """Return where a box may keep what it needs on the host; it is not made here. Raises BoxStartError."""
    return _base() / f"{box_id.rpartition('-')[0]}.{_namespace()}" / box_id


def make_directory(box_id: str, *below: str) -> Path:
    """Make the directory of a box, or one *below* it, and return it. Another box of this process may end meanwhile."""
    directory = state_directory(box_id).joinpath(*below)
    for left in reversed(range(_ROUNDS)):
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            break
        except (
            FileNotFoundError,
            FileExistsError,
        ):  # the last box of another runtime here took the process's own directory with it
            if not left:
                raise
    return directory


def note_process(box_id: str, pid: int) -> None:
    """Remember a process of a box, so that a later start can end it."""
    with open(make_directory(box_id) / _PROCESSES, "a", encoding="ascii") as file:
        file.write(f"{pid} {started_at(pid)}\n")


def note_groups(box_id: str, groups: Iterable[str]) -> None:
    """Remember the control groups of a box, so that a later start can empty and remove them, wherever it runs itself."""
    (make_directory(box_id) / _GROUPS).write_text("".join(f"{group}\n" for group in groups))


def forget_directory(box_id: str) -> None:
    """Remove what a box kept, and the process's own directory with the last box."""
    directory = state_directory(box_id)
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.suppress(OSError):  # another box is in it, or there never was one
        directory.parent.rmdir()


def sweep_state() -> int:
    """End the processes and remove the directories of boxes whose runtime is gone; returns how many boxes there were."""
    count = 0
    base = _base()
    for owner in _names(base):
        name, _, namespace = owner.name.partition(".")
        pid, _, started = name.partition("-")
        # Of another process namespace nobody here can tell who lives: containers may share the directory.
        if namespace != _namespace() or not pid.isdigit() or str(started_at(int(pid))) == started:
            continue
        for box in _names(owner):
            _end_processes(box / _PROCESSES)
            remove_groups(_lines(box / _GROUPS))
            count += 1
        shutil.rmtree(owner, ignore_errors=True)
    return count


def _names(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:  # another process sweeps, too, and was first
        return []


def _namespace() -> str:
    """Return the number of the process namespace in which this process and its pid are known."""
    return str(os.stat("/proc/self/ns/pid").st_ino)


def _end_processes(file: Path) -> None:
    for line in _lines(file):
        pid, _, started = line.partition(" ")
        if pid.isdigit() and started.isdigit():
            kill_orphan(int(pid), int(started))


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _base() -> Path:
    """Return ``/tmp/shoal-UID`` (or where TMPDIR says), ours alone. Raises BoxStartError when somebody else made it.

    It is looked at each time: who clears away old temporary files may have taken it, and others may have put theirs there.
    """
    base = Path(tempfile.gettempdir()) / f"shoal-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        base.mkdir(mode=0o700)
    found = base.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise BoxStartError(f"{base} must be a directory of this user with mode 0700", level="any", phase="launch")
    return base
