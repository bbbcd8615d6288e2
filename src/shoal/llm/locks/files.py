"""Locks on files, for code outside of any runtime: they hold on this machine, for this user.

A record lock (POSIX ``fcntl``) belongs to a process: it is free when that dies, whatever children it leaves. Two traps of
theirs shape this file. A process never excludes itself, so those of one process stand in a line of their own. And a process
loses its lock when it closes any descriptor of the file, so a file whose name is in use here is opened nowhere else.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from shoal.errors import LockError
from shoal.kernel.clock import RealClock
from shoal.kernel.leasing import Granted
from shoal.kernel.lines import Lines
from shoal.kernel.ports import Clock, Lease
from shoal.llm.locks.ledger import Ledger

__all__ = ["FilePlace", "files_here"]

PAUSE_SECONDS = (0.0002, 0.002)
LONG_WAIT_SECONDS = 1.0
LONG_PAUSE_SECONDS = 0.01
CLEAN_EVERY_SECONDS = 3600.0
FLOOR = "floor"
# The bytes of a file that are locked: who has the name, and who is the next (so nobody can take it twice in a row past him).
_HELD, _NEXT = 0, 1
_NEVER = datetime.max.replace(tzinfo=UTC)


class FilePlace:
    """Locks in one folder, for one process."""

    leased = False

    def __init__(self, folder: Path) -> None:
        self.clock: Clock = RealClock()
        self.ledger = Ledger()
        self._folder = folder
        self._lines = Lines()
        self._open: dict[str, int] = {}  # descriptors by file name, of what is held
        self._cleaned = self.clock.monotonic()

    async def take(self, name: str, owner: str, ttl: float, timeout: float | None) -> Granted:
        """Take a name. It is held until it is given back, or the process ends; *ttl* is for leases."""
        begun = self.clock.monotonic()
        deadline = None if timeout is None else begun + timeout
        file = hashlib.sha256(name.encode()).hexdigest()
        contended = self._lines.occupied(file)
        if not await self._lines.enter(file, self.clock, deadline):
            return Granted(lease=None, waited=True, holder=self.ledger.holder(name))
        try:
            granted = await self._take(name, file, owner, deadline)
        except BaseException:
            self._lines.leave(file)
            raise
        if granted.lease is None:
            self._lines.leave(file)
        return Granted(lease=granted.lease, waited=contended or granted.waited, holder=granted.holder)

    async def _take(self, name: str, file: str, owner: str, deadline: float | None) -> Granted:
        fd = self._enter_file(file)
        waited = False
        try:
            begun = self.clock.monotonic()
            pause, longest = PAUSE_SECONDS
            next_in = False
            while True:
                next_in = next_in or _locked(fd, _NEXT)
                if next_in and _locked(fd, _HELD):
                    if not _same(fd, self._folder / file):  # it was cleaned away: nobody else would find it locked
                        gone, fd = fd, -1
                        os.close(gone)
                        fd, next_in = self._enter_file(file), False
                        continue
                    token = self._mark(fd, owner)
                    _unlock(fd, _NEXT)
                    self._open[file], fd = fd, -1
                    return Granted(lease=Lease(name=name, owner=owner, token=token, until=_NEVER), waited=waited)
                now = self.clock.monotonic()
                if deadline is not None and now >= deadline:
                    return Granted(lease=None, waited=True, holder=_marked(fd)[1] or "another process")
                waited = True
                if now - begun > LONG_WAIT_SECONDS:
                    longest = LONG_PAUSE_SECONDS
                await self.clock.sleep(pause if deadline is None else min(pause, deadline - now))
                pause = min(pause * 1.5, longest)
        finally:
            if fd >= 0:
                os.close(fd)

    def _enter_file(self, file: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._folder / file, flags, 0o600)
        except FileNotFoundError:
            _make(self._folder)
            return os.open(self._folder / file, flags, 0o600)

    def _mark(self, fd: int, owner: str) -> int:
        """Write the next token, and who has it, into the file."""
        token = (_marked(fd)[0] or self._floor()) + 1
        mark = f"{token}\n{owner.rpartition('#')[0]}\n".encode()
        os.pwrite(fd, mark, 0)
        os.ftruncate(fd, len(mark))
        return token

    def _floor(self) -> int:
        """Return the highest token of all files that were cleaned away: new ones go on above it."""
        try:
            return int((self._folder / FLOOR).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    async def keep(self, lease: Lease, ttl: float) -> Lease:
        """Do nothing: a file is held until it is given back."""
        return lease

    async def drop(self, lease: Lease, *, settled: bool) -> None:
        """Give it back."""
        file = hashlib.sha256(lease.name.encode()).hexdigest()
        os.close(self._open.pop(file))
        self._lines.leave(file)
        now = self.clock.monotonic()
        if now - self._cleaned > CLEAN_EVERY_SECONDS:
            self._cleaned = now
            await self.clean(CLEAN_EVERY_SECONDS)

    async def clean(self, max_age_seconds: float) -> int:
        """Remove the files of names that nobody has had for so long; return how many."""
        if not self._lines.try_enter(FLOOR):
            return 0  # somebody of this process is at it
        try:
            return self._clean(self.clock.now().timestamp() - max_age_seconds)
        finally:
            self._lines.leave(FLOOR)

    def _clean(self, before: float) -> int:
        cleaner = self._enter_file(f"{FLOOR}.lock")
        try:
            if not _locked(cleaner, _HELD):
                return 0
            return sum(self._clean_file(path, before) for path in sorted(self._folder.iterdir()))
        finally:
            os.close(cleaner)

    def _clean_file(self, path: Path, before: float) -> bool:
        if len(path.name) != hashlib.sha256().digest_size * 2 or not self._lines.try_enter(path.name):
            return False
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                unused = os.fstat(fd).st_mtime <= before and _locked(fd, _NEXT) and _locked(fd, _HELD)
                if not unused or not _same(fd, path):
                    return False
                self._raise_floor(_marked(fd)[0])
                path.unlink()
                return True
            finally:
                os.close(fd)
        except FileNotFoundError:
            return False
        finally:
            self._lines.leave(path.name)

    def _raise_floor(self, token: int) -> None:
        """Keep the token of a file that goes away. Only the cleaner writes it, whole."""
        draft = self._folder / f"{FLOOR}.new"
        draft.write_text(str(max(token, self._floor())))
        draft.replace(self._folder / FLOOR)


def _locked(fd: int, byte: int) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(fd: int, byte: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, byte)


def _same(fd: int, path: Path) -> bool:
    """Tell whether the open file is the one of that name."""
    try:
        there, mine = os.stat(path), os.fstat(fd)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _marked(fd: int) -> tuple[int, str]:
    """Return the token and the holder that stand in a file."""
    token, _, rest = os.pread(fd, 4096, 0).decode(errors="replace").partition("\n")
    return int(token) if token.isdecimal() else 0, rest.partition("\n")[0]


def _make(folder: Path) -> None:
    """Make the folder, for this user alone. Raises LockError when it is not so."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise LockError(f"{folder} is not a folder of this user, so no locks can be kept there")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _folder() -> Path:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        with suppress(OSError):
            if os.stat(runtime).st_uid == os.geteuid():
                return Path(runtime, "shoal-locks")
    return Path.home() / ".local" / "state" / "shoal" / "locks"


_places: dict[tuple[int, Path], FilePlace] = {}


def files_here() -> FilePlace:
    """Return this process's place for locks on files: one for each folder, since record locks are the process's.

    After a fork the child makes its own: the parent's locks are not the child's.
    """
    key = (os.getpid(), _folder())
    place = _places.get(key)
    if place is None:
        _make(key[1])
        place = _places.setdefault(key, FilePlace(key[1]))
    return place
