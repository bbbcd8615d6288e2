"""The connections of a node that read, each with a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from shoal.store.postgres.address import Address
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.session import Session
from shoal.store.sql.transaction import Reader

__all__ = ["Readers"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
_ALONE: tuple[Any, ...] = (Reader.rows, Reader.one, Reader.value)  # one statement, which sees one state by itself


class Readers:
    """A few connections that read."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._own = threading.local()
        self._sessions: list[Session] = []
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="shoal-store-reader", initializer=self._begin)

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one state of what is committed. Waits for it."""
        return self.submit(fn, *args).result()

    def submit(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> Future[T]:
        """Begin to read."""
        return self._threads.submit(lambda: self._read(fn, *args))

    def close(self) -> None:
        """End the threads and their connections."""
        self._threads.shutdown(wait=True)
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def _begin(self) -> None:
        self._own.session = Session(self._address)
        self._sessions.append(self._own.session)

    def _read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        session: Session = self._own.session
        return session.do(lambda driver: _within(driver, fn, *args), "could not be read")


def _within(driver: PostgresDriver, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
    if fn in _ALONE:
        return fn(Reader(driver), *args)
    driver.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return fn(Reader(driver), *args)
    finally:
        driver.rollback()
