"""What a folder of agent files holds: looked at, checked and read. Nothing of it is run here.

Code from here runs with all rights of this process. So folder and files must belong to this user or to root and nobody else
may be able to write to them (as OpenSSH asks of its key files), and what is judged is what was opened, never a name twice.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection
from pathlib import Path

import msgspec

from shoal.errors import ConfigError

__all__ = ["Folder", "Look", "Source"]

MOST_BYTES = 1 << 18
"""A larger file is none that somebody wrote; and while Python compiles it, nothing else of the process runs."""
NANO = 1_000_000_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Source(msgspec.Struct, frozen=True):
    """A file as it was read. ``digest`` is the SHA-256 of its content."""

    name: str
    path: Path
    data: bytes
    digest: str


class Look(msgspec.Struct, frozen=True):
    """What one look has found.

    Attributes:
        names: of all Python files there.
        sources: the files that have changed, or are new, and have settled.
        faults: why a file is not read, by its name; until it changes.
        unsettled: files that are perhaps still being written.
    """

    names: frozenset[str]
    sources: tuple[Source, ...]
    faults: dict[str, str]
    unsettled: frozenset[str]


class _Unfit(Exception):
    """A file is not to be read. The text goes on where its name ended."""


class _Stamp(msgspec.Struct, frozen=True):
    """What tells without reading that a file has changed."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int
    mode: int
    user: int

    @classmethod
    def of(cls, found: os.stat_result) -> _Stamp:
        """Return that of a file."""
        times = found.st_mtime_ns, found.st_ctime_ns
        return cls(found.st_dev, found.st_ino, found.st_size, *times, found.st_mode, found.st_uid)


class Folder:
    """The ``*.py`` files of a folder, hidden ones aside. For one thread at a time.

    A file is read when it was the same in two looks: else it may be half written. Its times do not tell that (ext4 makes a
    file empty before it changes them); only the first look believes them, and reads at once what has been left alone for as
    long as lies between two looks.
    """

    def __init__(self, path: str | Path, settle_seconds: float) -> None:
        self.path = Path(os.path.realpath(path))
        self._settle = int(settle_seconds * NANO)
        self._seen: dict[str, _Stamp] = {}  # at the last look
        self._read: dict[str, _Stamp] = {}  # what was read, or has a fault
        self._faults: dict[str, str] = {}
        self._looked = False

    def forget(self, names: Collection[str]) -> None:
        """Take these files for new at the next look."""
        for name in names:
            self._read.pop(name, None)

    def check(self) -> None:
        """Raise ConfigError unless code may be loaded from this folder."""
        os.close(self._open())

    def look(self, now: int | None) -> Look:
        """Return what has changed since the last look.

        Args:
            now: microseconds since 1970; None takes every file as it is, without waiting for it to settle.

        Raises:
            ConfigError: the folder is not there, or not safe.
        """
        folder = self._open()
        try:
            listed = sorted(name for name in os.listdir(folder) if name.endswith(".py") and not name.startswith("."))
            names = [name for name in listed if _is_text(name)]
            found = [(name, self._look_at(folder, name, now)) for name in names]
        finally:
            os.close(folder)
        self._looked = True
        there = frozenset(names)
        for kept in (self._seen, self._read, self._faults):
            for name in [name for name in kept if name not in there]:
                del kept[name]
        sources = tuple(source for _, source in found if source is not None)
        unsettled = there - self._read.keys()
        odd = {_shown(name): f"{_shown(name)} has a name that is no UTF-8" for name in listed if name not in there}
        return Look(names=there | odd.keys(), sources=sources, faults=self._faults | odd, unsettled=unsettled)

    def _open(self) -> int:
        try:
            folder = os.open(self.path, _FOLDER | os.O_NOFOLLOW)
        except OSError as error:
            raise ConfigError(f"the agent folder {self.path} cannot be opened: {error.strerror}") from None
        try:
            _check_safe(os.fstat(folder))
        except _Unfit as unfit:
            os.close(folder)
            note = "Only its owner may be able to put code there: chmod go-w, chown."
            raise ConfigError(f"the agent folder {self.path} {unfit}", note=note) from None
        return folder

    def _look_at(self, folder: int, name: str, now: int | None) -> Source | None:
        """Return a file that has changed and settled."""
        try:
            stamp = _Stamp.of(os.stat(name, dir_fd=folder))
        except OSError as error:
            if _is_link(folder, name):
                self._faults[name] = f"{name} is a link that leads nowhere: {error.strerror}"
                self._read[name] = _Stamp(0, 0, 0, 0, 0, 0, 0)
            return None  # else it has just been removed
        if self._read.get(name) == stamp:
            return None
        before, self._seen[name] = self._seen.get(name), stamp
        self._read.pop(name, None)
        last = max(stamp.modified, stamp.changed)
        old = not self._looked and now is not None and last <= now * 1000 - self._settle
        if now is not None and before != stamp and not old:
            return None
        return self._source(folder, name, stamp)

    def _source(self, folder: int, name: str, stamp: _Stamp) -> Source | None:
        self._faults.pop(name, None)
        try:
            data = self._content(folder, name, stamp)
        except _Unfit as unfit:
            self._faults[name] = f"{name} {unfit}"
        except OSError as error:
            self._faults[name] = f"{name} cannot be read: {error.strerror}"
        else:
            if data is None:
                return None
            self._read[name] = stamp
            return Source(name, self.path / name, data, hashlib.sha256(data).hexdigest())
        self._read[name] = stamp
        return None

    def _content(self, folder: int, name: str, stamp: _Stamp) -> bytes | None:
        """Return what is in a file; None when it is another one than was seen, or changes while it is read."""
        file = self._open_file(folder, name)
        try:
            opened = os.fstat(file)
            if not stat.S_ISREG(opened.st_mode):
                raise _Unfit("is no regular file")
            _check_safe(opened)
            if opened.st_size > MOST_BYTES:
                raise _Unfit(f"is too large: {opened.st_size} bytes, and {MOST_BYTES} is the most")
            data = os.read(file, MOST_BYTES + 1)
            same = _Stamp.of(os.fstat(file)) == stamp
        finally:
            os.close(file)
        return data if same and len(data) == stamp.size else None

    def _open_file(self, folder: int, name: str) -> int:
        """Open a file. A link is followed within the folder only: each part of where it leads is opened by itself."""
        if not _is_link(folder, name):
            return os.open(name, _FILE, dir_fd=folder)
        target = Path(os.path.realpath(self.path / name))
        if not target.is_relative_to(self.path):
            raise _Unfit("is a link that leads out of the folder")
        *folders, file = target.relative_to(self.path).parts or (name,)
        opened: list[int] = []
        try:
            for part in folders:
                opened.append(os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=opened[-1] if opened else folder))
                _check_safe(os.fstat(opened[-1]))
            return os.open(file, _FILE, dir_fd=opened[-1] if opened else folder)
        finally:
            for each in opened:
                os.close(each)


def _is_link(folder: int, name: str) -> bool:
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _is_text(name: str) -> bool:
    """Tell whether a name can be told to others: what is no UTF-8 comes with lone surrogates."""
    return _shown(name) == name


def _shown(name: str) -> str:
    return name.encode(errors="backslashreplace").decode()


def _check_safe(found: os.stat_result) -> None:
    """Raise _Unfit when somebody else than this user and root can write there."""
    if found.st_uid not in (os.geteuid(), 0):
        raise _Unfit(f"belongs to user {found.st_uid}, not to this one")
    mode = stat.S_IMODE(found.st_mode)
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _Unfit(f"can be written by others (its mode is {mode:o})")
