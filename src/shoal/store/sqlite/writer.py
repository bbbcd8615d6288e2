"""The one connection that writes, and its transactions.

Many operations share one transaction and one fsync: whatever is queued while the disk is busy is written together next
(the group commit of Gawlick and Kinkade, "Varieties of concurrency control in IMS/VS Fast Path", 1985).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.errors import StoreError
from shoal.store.sqlite.connection import REFUSED, Connection, DriverError, Refusal, Transaction
from shoal.store.sqlite.log_layout import lay_out_log
from shoal.store.sqlite.operations import Operation, Outcome
from shoal.store.sqlite.write_lock import WriteLock

__all__ = ["Writer"]

Group = list[Operation[object]]


class _SpoiledError(Exception):
    """An operation failed after it had written something."""


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
        self.cx = Transaction(connection)

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

    def write(self, group: Group) -> tuple[list[Outcome], bool]:
        """Write a group; return what became of each operation, and whether somebody wants to hear of the commit."""
        with self.mutex:
            return self._write(group)

    def _write(self, group: Group) -> tuple[list[Outcome], bool]:
        try:
            return self._transact(group)
        except StoreError as error:  # another process holds everything up
            return [(operation, error, None) for operation in group], False
        except (_SpoiledError, DriverError, OSError) as error:
            if len(group) == 1 or isinstance(error, (*REFUSED, OSError)):
                failure = self._failure(error)
                return [(operation, failure, None) for operation in group], False
        outcomes: list[Outcome] = []
        announce = False
        for operation in group:
            alone, heard = self._write([operation])
            outcomes += alone
            announce = announce or heard
        return outcomes, announce

    def _transact(self, group: Group) -> tuple[list[Outcome], bool]:
        cx = self.cx
        with self.locked():
            try:
                cx.begin()
                if cx.value("PRAGMA data_version") != self._seen_version:
                    self._note_foreign()
                outcomes = [_apply(cx, operation) for operation in group]
                announce = cx.flush()
                self._fault("before_commit")
                cx.commit()
            except BaseException:
                cx.rollback()
                raise
        self._fault("after_commit")
        return outcomes, announce

    def _failure(self, error: Exception) -> BaseException:
        if isinstance(error, _SpoiledError) and error.__cause__ is not None:
            return error.__cause__
        failure = self.error(error, "refused the write")
        failure.__cause__ = error
        return failure

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


def _apply(cx: Transaction, operation: Operation[object]) -> Outcome:
    before = cx.mark()
    try:
        value = operation.fn(cx, *operation.args)
    except DriverError:
        raise
    except Exception as error:
        if cx.mark() != before:
            raise _SpoiledError from error
        return operation, error, None
    if type(value) is Refusal:
        return operation, value.error, None
    return operation, None, value
