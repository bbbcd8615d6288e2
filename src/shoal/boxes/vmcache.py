"""Where the parts of virtual machines are kept: kernel, initrd and disks, each made once and shared by all machines.

A part's name carries a digest of what it was made from, so a part is never changed and never stale. It appears whole or
not at all; one builder at a time makes parts, across processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from shoal.errors import IsolationUnavailableError

__all__ = ["PartCache", "digest_of", "digest_of_tree"]

_BUILDING = ".building-"
_KEPT = 32  # parts of a kind that are kept in any case
_IN_USE = 3600  # seconds since somebody last asked for a part, who may be about to start a machine with it
_DIGITS = 16


class PartCache:
    """A directory of parts, by default ``$XDG_CACHE_HOME/shoal/vm`` or ``~/.cache/shoal/vm``."""

    def __init__(self, directory: Path | None = None) -> None:
        """Nothing is made before the first part is."""
        self.directory = directory if directory is not None else _default_directory()

    def find(self, name: str) -> Path | None:
        """Return the part of that name and mark it as used, None when it has not been made."""
        path = self.directory / name
        try:
            self._check_owner()
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return path

    def make(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return the part of that name; if there is none, ``make`` writes it (a file or a directory) to the given path.

        Waits while another process makes parts. Raises what ``make`` raises, and IsolationUnavailableError when the
        cache cannot be used.
        """
        found = self.find(name)
        if found is not None:
            return found
        with self._lock():
            found = self.find(name)  # somebody made it while we waited
            if found is None:
                found = self._make(name, make)
        return found

    def drop(self, name: str) -> None:
        """Remove the part of that name, so that it is made anew."""
        with self._lock():
            _discard(self.directory / name)

    def _make(self, name: str, make: Callable[[Path], None]) -> Path:
        unfinished = self.directory / f"{_BUILDING}{name}"
        try:
            make(unfinished)
            os.rename(unfinished, self.directory / name)
        finally:
            _discard(unfinished)
        self._prune(name.partition("-")[0])
        return self.directory / name

    def _prune(self, kind: str) -> None:
        """Remove the parts of a kind that were used longest ago; machines that run keep theirs open."""
        used = {path: path.stat().st_mtime for path in self.directory.glob(f"{kind}-*")}
        newest = max(used.values())  # that is now: one has just been made
        for path in sorted(used, key=lambda path: used[path], reverse=True)[_KEPT:]:
            if used[path] < newest - _IN_USE:
                _discard(path)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_owner()
            lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise IsolationUnavailableError(
                f"microvm: the cache {self.directory} cannot be written: {error.strerror}",
                note="Set XDG_CACHE_HOME to a directory of this user.",
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for path in self.directory.glob(f"{_BUILDING}*"):  # its builder was killed
                _discard(path)
            yield
        finally:
            os.close(lock)

    def _check_owner(self) -> None:
        """Refuse a directory in which somebody else could put a kernel of theirs."""
        found = self.directory.stat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise IsolationUnavailableError(
                f"microvm: {self.directory} must be a directory of this user that nobody else can write"
            )


def digest_of(*words: str | bytes) -> str:
    """Return a digest of some words in their order."""
    total = sha256()
    for word in words:
        data = word.encode() if isinstance(word, str) else word
        total.update(len(data).to_bytes(8) + data)
    return total.hexdigest()[:_DIGITS]


def digest_of_tree(source: Path) -> str:
    """Return a digest of a file or of all below a directory: names, modes, sizes, times, link targets, not contents.

    Raises OSError.
    """
    words = [str(source)]
    for path in [source, *(sorted(_below(source)) if source.is_dir() else ())]:
        found = path.lstat()
        link = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
        relative = path.relative_to(source)
        words.append(f"{relative}\0{found.st_mode}\0{found.st_size}\0{found.st_mtime_ns}\0{link}")
    return digest_of(*words)


def _below(source: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, names in os.walk(source, onerror=refuse):
        for name in (*folders, *names):
            yield Path(folder, name)


def _default_directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shoal" / "vm"


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
