"""The one connection of a node that writes, and its transactions: the operations of a group share one of them.

A connection that is lost before its commit has changed nothing: the group is written again on the next one. One that is
lost while it commits may have: each transaction leaves the mark of its group, and that is looked for, so nothing is
done twice and nothing that was done is called failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from shoal.errors import StoreError
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import (
    Link,
    connect,
    crossed_errors,
    driver_module,
    held_errors,
    lost_errors,
    lost_in_commit,
    said,
)
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.patience import Patience
from shoal.store.postgres.sealing import LAST, MARK, NAME
from shoal.store.sql.group import Group, Written, apply, write_group
from shoal.store.sql.hot import runs_beside
from shoal.store.sql.operations import Operations, Outcome
from shoal.store.sql.transaction import Transaction

__all__ = ["Writer"]

_PAUSE_SECONDS = 0.1


class _LostError(Exception):
    """The connection was lost before anything was committed."""


class Writer:
    """Writes groups of operations.

    Args:
        address: database and schema.
        key: the lock that all nodes on one schema take turns with.
        durability: ``full`` or ``normal``.
        operations: what waits to be written.
        fault: called at ``before_commit`` and ``after_commit``.
        patience: how long a server that is away is waited for.
    """

    def __init__(
        self,
        address: Address,
        key: int,
        durability: str,
        operations: Operations,
        fault: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self._address = address
        self._key = key
        self._durability = durability
        self._operations = operations
        self._fault = fault
        self._lost = lost_errors()
        self._crossed = crossed_errors()
        self._held = held_errors()
        self._patience = patience
        self._away: tuple[type[Exception], ...] = (_LostError, *self._lost)
        self._failed: tuple[type[Exception], ...] = (driver_module().PostgresError,)
        self._link: Link | None = None
        self._ended = threading.Event()
        self._name = ""  # of this writer, given by the server
        self._groups = 0  # that it has tried to write
        self._open = False  # others may still join the group
        self.known = 0  # the number of the newest commit that this node has heard of
        self._foreign = False  # another node has committed since somebody asked
        self._hearing = threading.Lock()  # of these two: the loop and the thread that writes hear of commits

    def write(self, group: Group) -> Written:
        """Write a group, with what joins it meanwhile; return what became of each operation, and whether somebody wants
        to hear of the commit."""
        self._open = True
        return write_group(
            group,
            self._transact,
            refused=(*self._away, *self._held),
            failed=self._failed,
            failure=lambda error: self.error(error, "refused the write"),
        )

    def hurry(self) -> None:
        """Hear that the patience has to hurry, also with what is waited for now. From any thread."""
        if (link := self._link) is not None:
            link.hurry()

    def end(self) -> None:
        """Try no further to reach a server that is away; a connection that is lost is made once more."""
        self._ended.set()

    def close(self) -> None:
        """Close the connection; by the thread that writes."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def drop(self) -> None:
        """Let go of the connection, and of what it has begun."""
        if self._link is not None:
            self._link.drop()
            self._link = None

    def error(self, error: Exception, what: str) -> StoreError:
        """Return the StoreError for what the driver or the machine said."""
        reason = error.__cause__ if isinstance(error, _LostError) and error.__cause__ is not None else error
        if isinstance(reason, self._held):
            what = f"{what}: another node has stopped in the midst of a write, or writes for very long"
        return StoreError(f"the store {self._address.url} {what}: {said(reason)}", url=self._address.url)

    def _transact(self, group: Group) -> Written:
        beside = all(map(runs_beside, group))
        begun = self._patience.begin()
        again = False
        while True:
            try:
                return self._once(group, beside)
            except _LostError:
                if self._patience.is_over(begun) or (self._ended.wait(_PAUSE_SECONDS) and again):
                    raise
                again = True
            except self._crossed:
                if not beside:
                    raise
                beside = False

    def _once(self, group: Group, beside: bool) -> Written:
        self._groups += 1
        driver = self._driver(self._the_link())
        cx = Transaction(driver)
        outcomes: list[Outcome] = []
        gathered = cx.gathered()
        try:
            cx.begin(beside)
            self._join(group, beside)
            outcomes = self._apply(cx, group)
            outcomes += self._apply(cx, self._join(group, beside))
            self._open = False
            gathered = cx.gathered()
            self._fault("before_commit")
            cx.commit(gathered)
        except self._lost as error:
            self.drop()
            if not driver.sealed or not self._committed():
                raise _LostError from error
        except BaseException:
            self._open = False  # what comes now stays behind those that are written one by one
            cx.rollback()
            raise
        self._fault("after_commit")
        if driver.number:
            self.note(driver.number)
        return outcomes, gathered.announce

    def _join(self, group: Group, beside: bool) -> Group:
        if not self._open:
            return []
        return self._operations.join(group, lambda operation: not beside or runs_beside(operation))

    def _apply(self, cx: Transaction, group: Group) -> list[Outcome]:
        return apply(cx, group, (*self._failed, *self._lost))

    def _driver(self, link: Link) -> PostgresDriver:
        return PostgresDriver(link, self._key, (self._name, self._groups))

    def _the_link(self) -> Link:
        if self._link is None or not self._link.alive or not self._name:
            self.drop()
            try:
                self._link = connect(self._address, durability=self._durability, writes=True, patience=self._patience)
                self._name = self._name or PostgresDriver(self._link).rows(NAME)[0][0]
            except self._lost as error:
                raise _LostError from error
        return self._link

    def _committed(self) -> bool:
        """Tell whether the group whose commit was not answered is written; when it is not, it will not be any more.

        Its transaction has ended when the lock of all that write is free, or it has not begun: then it finds a later mark
        than its own.
        """
        begun = self._patience.begin()
        while True:
            try:
                driver = self._driver(self._the_link())
                driver.begin()
                if driver.rows(LAST, (self._name,)) == [(self._groups,)]:
                    driver.rollback()
                    return True
                driver.execute(MARK, (self._name, self._groups + 1))
                driver.commit()
            except (*self._away, *self._failed) as lost:
                self.close()
                if self._patience.is_over(begun) or self._ended.wait(_PAUSE_SECONDS):
                    raise lost_in_commit(self._address, lost) from lost
            else:
                self._groups += 1
                return False

    def note(self, number: int) -> None:
        """Hear of a commit of this node."""
        with self._hearing:
            if number != self.known + 1:
                self._foreign = True
            self.known = number

    def others_committed(self, newest: int) -> bool:
        """Hear of the newest commit, and tell whether another node has committed since the last call."""
        with self._hearing:
            if newest > self.known:
                self.known = newest
                self._foreign = True
            foreign, self._foreign = self._foreign, False
        return foreign
