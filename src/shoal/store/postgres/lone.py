"""An operation that comes alone: carried out on the loop of its caller, in one statement, at most one look before it.

A group needs a thread that waits for the server while others join it; one that nobody joins would pay for the way to that
thread and back, and for the words around its transaction. The loop may be held up by the code of an agent at any time, so
nothing begins here that would hold others up until the loop goes on: one statement is a transaction by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

from shoal.errors import StoreError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Wire
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import driver_module, lost_errors, lost_in_commit, open_connection, said
from shoal.store.postgres.dialect import prepared, readable
from shoal.store.postgres.sealing import LAST, MARK, NAME, Mark, Notice, few, sealing_alone
from shoal.store.sql.hot import HOT, Hot
from shoal.store.sql.operations import Operation
from shoal.store.sql.transaction import Gathered, Refusal, Row, Sole, Transaction

__all__ = ["Lone", "Trial", "Answered"]

_CROWDED = 16  # operations that are not tried in one statement, since others commit all the time
_ANSWER_SECONDS = 5.0  # in which a statement is answered, else it is found out on another connection whether it was
_AGAIN_SECONDS = 0.5  # after a connection was not to be had
_KNOWN = "INSERT INTO writers (writer, number, at) VALUES ($1, 0, now()) ON CONFLICT (writer) DO NOTHING"
_NO_DRIVER: Any = None  # what comes alone is gathered only: its statement is made of that

Answered = tuple[Operation[Any], Any, bool]
"""An operation, what it is answered, and whether somebody wants to hear of the commit."""


class Trial:
    """An operation that is tried, with the mark of its statement and what it is answered then, as soon as that may be
    carried out."""

    __slots__ = ("given_up", "mark", "operation", "value")

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        self.mark: Mark | None = None
        self.value: object = None
        self.given_up = False


class Lone:
    """Carries out one operation at a time.

    Args:
        address: database and schema.
        key: the lock that all nodes on one schema take turns with.
        durability: ``full`` or ``normal``.
        fault: called at ``before_commit`` and ``after_commit``.
        note: called with the number of each commit.
    """

    def __init__(
        self, address: Address, key: int, durability: str, fault: Callable[[str], None], note: Callable[[int], None]
    ) -> None:
        self._address = address
        self._key = key
        self._durability = durability
        self._fault = fault
        self._note = note
        self._lost = lost_errors()
        self._failed: type[Exception] = driver_module().PostgresError
        self._guard = threading.Lock()  # of a trial, between whoever carries it out and who gives it up
        self._connection: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._hurry: asyncio.TimerHandle | None = None
        self._not_before = 0.0
        self._now = RealClock().monotonic
        self._name = ""  # of this writer, given by the server
        self._number = 0  # of the statements that it has tried
        self._crowded = 0
        self.wire: Wire | None = None  # on which bells ring with what is committed

    def takes(self, operation: Operation[Any]) -> bool:
        """Tell whether it may be carried out so; what cannot be is seen when it is tried."""
        hot = HOT.get(operation.fn)
        if hot is None or hot.alone is None:
            return False
        if self._crowded:
            self._crowded -= 1
            return False
        if not self.ready:
            self._connect_soon()
        return self.ready

    @property
    def ready(self) -> bool:
        """Tell whether there is a connection."""
        return self._connection is not None and not self._connection.is_closed()

    async def carry_out(self, trial: Trial) -> Answered | None:
        """Return the operation with its answer; None when it needs more than this, or when the connection was lost."""
        operation = trial.operation
        hot = HOT[operation.fn]
        cx = Transaction(_NO_DRIVER)
        cx.span = operation.span
        try:
            sole = await self._sole(cx, hot, operation)
        except self._lost:
            self.drop()
            return None
        except Exception:  # noqa: BLE001 - whoever asked is told of it when it is carried out as all others are
            return None
        if sole is None:
            return None
        gathered = cx.gathered()
        if sole.change is None and not (gathered.announce or gathered.counted or gathered.new):
            return operation, sole.value, False
        if not few(gathered.new):
            return None
        return await self._write(trial, gathered, sole)

    def instead(self, trial: Trial) -> Operation[Any]:
        """Give a trial up, and return what is to be carried out in its place: the operation itself, or, when its statement
        may be on its way, one that finds out first whether it was. From any thread."""
        with self._guard:
            trial.given_up = True
            if trial.mark is None:
                return trial.operation
            self._number += 1  # of the mark that is left when it is found out
            return self._doubted(trial.operation, trial.mark, trial.value)

    def hurry(self, seconds: float) -> None:
        """Give up what is not answered within *seconds*: the thread that writes finds out what became of it. On the loop."""
        if self._hurry is not None:
            self._hurry.cancel()
        self._hurry = asyncio.get_running_loop().call_later(seconds, self.drop)

    async def close(self) -> None:
        """Take leave of the server."""
        if self._hurry is not None:
            self._hurry.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            try:
                await connection.close(timeout=1.0)
            except self._lost:
                connection.terminate()

    async def _sole(self, cx: Transaction, hot: Hot, operation: Operation[Any]) -> Sole | None:
        found: Sequence[Row] = ()
        if hot.look is not None:
            look = hot.look(*operation.args)
            if look is None:
                return None
            text, values = prepared(*look)
            found = list(map(readable, await self._connection.fetch(text, *values, timeout=_ANSWER_SECONDS)))
        assert hot.alone is not None
        return hot.alone(cx, found, *operation.args)

    async def _write(self, trial: Trial, gathered: Gathered, sole: Sole) -> Answered | None:
        operation = trial.operation
        notice = self._notice(operation)
        with self._guard:
            if trial.given_up:
                return None
            self._number += 1
            trial.mark = mark = (self._name, self._number)
            trial.value = sole.value
        sql, values = sealing_alone(gathered, mark, self._key, sole, notice)
        self._fault("before_commit")
        try:
            found = await self._connection.fetch(sql, *values, timeout=_ANSWER_SECONDS)
        except self._lost:
            self.drop()
            return None
        except self._failed:  # the server has undone it
            trial.mark = None
            return None
        if not found:
            trial.mark = None
            self._crowded = _CROWDED
            await self._be_known()
            return None
        self._fault("after_commit")
        if notice is not None and operation.bell is not None:
            operation.bell.rung = True
        self._note(found[0][0])
        return operation, sole.value, gathered.announce

    def _notice(self, operation: Operation[Any]) -> Notice | None:
        if operation.bell is None or self.wire is None or not (channels := self.wire.channels()):
            return None
        return channels, self.wire.payload(operation.bell)

    def _doubted(self, operation: Operation[Any], mark: Mark, value: object) -> Operation[Any]:
        loop = operation.loop
        assert loop is not None
        found: asyncio.Future[Any] = loop.create_future()
        again = Operation(_unless_written, (mark, value, operation.fn, operation.args), found, loop)
        again.span = operation.span

        def answer(found: asyncio.Future[Any]) -> None:
            error = found.exception()
            if operation.future.done():
                return
            if error is None:
                operation.future.set_result(found.result())
            elif isinstance(error, StoreError):
                operation.future.set_exception(lost_in_commit(self._address, error))
            else:
                operation.future.set_exception(error)

        found.add_done_callback(answer)
        return again

    async def _be_known(self) -> None:
        """Leave a mark where there is none: those of writers that wrote nothing for days are forgotten. It is none of a
        statement's: whoever finds out about one would take it for written."""
        try:
            await self._connection.execute(_KNOWN, self._name, timeout=_ANSWER_SECONDS)
        except (*self._lost, self._failed):
            self.drop()

    def drop(self) -> None:
        """Let go of the connection; whatever comes alone next has a new one made."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()

    def _connect_soon(self) -> None:
        if (self._connecting is None or self._connecting.done()) and self._now() >= self._not_before:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(), name="shoal-store-connect")

    async def _connect(self) -> None:
        connection: Any = None
        try:
            connection = await open_connection(self._address, durability=self._durability, writes=True)
            self._name = self._name or await connection.fetchval(NAME)
            self._connection, connection = connection, None
        except (*self._lost, self._failed):
            self._not_before = self._now() + _AGAIN_SECONDS
        finally:
            if connection is not None:
                connection.terminate()


def _unless_written(cx: Transaction, mark: Mark, value: object, fn: Callable[..., Any], args: Sequence[Any]) -> Any:
    """Return *value* when the statement that left *mark* was committed; else carry *fn* out.

    Nobody else writes meanwhile, so that statement has ended, or it has not begun: then it finds a later mark.
    """
    writer, number = mark
    if cx.value(LAST, (writer,)) == number:
        return value
    cx.execute(MARK, (writer, number + 1))
    before = cx.mark()
    try:
        return fn(cx, *args)
    except (*lost_errors(), driver_module().PostgresError):
        raise
    except Exception as error:
        if cx.mark() != before:  # it is undone, and with it the mark, so that the statement may still come
            raise StoreError(said(error)) from error
        return Refusal(error)
