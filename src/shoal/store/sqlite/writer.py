"""The one connection that writes, and its transactions: the operations of a group share one of them and one fsync."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.errors import StoreError
from shoal.store.sql.group import Group, Written, apply, write_group
from shoal.store.sql.transaction import Transaction
from shoal.store.sqlite.connection import REFUSED, Connection, DriverError, SqliteDriver
from shoal.store.sqlite.log_layout import lay_out_log
from shoal.store.sqlite.write_lock import WriteLock

__all__ = ["Writer"]


class Writer:
    """Writes groups of operations, and knows when somebody else has written.

    Args:
        path: the file, for texts and for its log.
        url: the store's, for errors.
        fault: called at ``before_commit`` and ``after_commit``.
    """

    def __init__(self, path: Path, url: str, fault: Callable[[str], None]) -> None:
        self.connection: Connection | None = None
        self.cx: Transaction
        self.lock: WriteLock | None = None
        self.mutex = threading.RLock()  # held while the connection is in use
        self._path = path
        self._url = url
        self._fault = fault
        self._seen_version = 0
        self._foreign = False

    def use(self, connection: Connection) -> None:
        """Write through *connection* from now on."""
        self.connection = connection
        self.cx = Transaction(SqliteDriver(connection))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing meanwhile."""
        if self.lock is None:
            yield
            return
        with self.lock.held():
            yield

    def close(self) -> None:
        """Close the connection and let go of the lock's file."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        if self.lock is not None:
            self.lock.close()
            self.lock = None

    # -- groups

    def write(self, group: Group) -> Written:
        """Write a group; return what became of each operation, and whether somebody wants to hear of the commit."""
        with self.mutex:
            return write_group(
                group,
                self._transact,
                refused=(*REFUSED, OSError),
                failed=(DriverError,),
                failure=lambda error: self.error(error, "refused the write"),
            )

    def _transact(self, group: Group) -> Written:
        cx = self.cx
        with self.locked():
            try:
                cx.begin()
                if cx.value("PRAGMA data_version") != self._seen_version:
                    self._note_foreign()
                outcomes = apply(cx, group, (DriverError,))
                gathered = cx.gathered()
                self._fault("before_commit")
                cx.commit(gathered)
            except BaseException:
                cx.rollback()
                raise
        self._fault("after_commit")
        return outcomes, gathered.announce

    def error(self, error: Exception, what: str) -> StoreError:
        """Return the StoreError for what the driver or the machine said."""
        return StoreError(f"the store {self._path} {what}: {error}", url=self._url)

    def lay_out_log(self) -> None:
        """Give the log its whole length, if nobody and nothing is in the way."""
        with suppress(DriverError, StoreError), self.mutex, self.locked():
            self.cx.begin()
            try:
                lay_out_log(self._path)
            finally:
                self.cx.rollback()

    # -- others

    def see_all(self) -> None:
        """Take all that was committed until now as seen."""
        self._seen_version = self.cx.value("PRAGMA data_version")

    def changed(self, look: bool) -> bool:
        """Tell whether another connection than this one has committed since the last call; without *look*, as far as
        it is known."""
        # The writer's own commits do not show in its data_version. While it writes it looks for itself.
        if look and self.connection is not None and self.mutex.acquire(blocking=False):
            try:
                if self.cx.value("PRAGMA data_version") != self._seen_version:
                    self._note_foreign()
            finally:
                self.mutex.release()
        foreign, self._foreign = self._foreign, False
        return foreign

    def _note_foreign(self) -> None:
        self.see_all()
        self._foreign = True
