"""The connections of a node that read, each with a thread of its own.

Whoever waits for a read is, as a rule, the loop of a node. So a server that hangs is waited for once: until it answers
again, which a thread looks for, further reads are refused at once, and the loop can do what has to be done then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from shoal.errors import StoreError
from shoal.store.postgres.address import Address
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.patience import Patience
from shoal.store.postgres.session import Session
from shoal.store.sql.transaction import Reader

__all__ = ["Readers"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_THREADS = 4
_MOMENT_SECONDS = 0.2  # in which a server that was only slow says that it is there
_ALONE: tuple[Any, ...] = (Reader.rows, Reader.one, Reader.value)  # one statement, which sees one state by itself


class Readers:
    """A few connections that read."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self._address = address
        self._own = threading.local()
        self._sessions: list[Session] = []
        self._patience = patience
        self._answers = threading.Event()  # the server does; else somebody looks when it does again
        self._answers.set()
        self._refusing = False
        self._noting = threading.Lock()
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="shoal-store-reader", initializer=self._begin)

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one state of what is committed. Waits for it.

        Raises StoreError, at once when the server has not answered another read in time and not since.
        """
        if not self._answers.is_set() and (self._refusing or not self._answers.wait(_MOMENT_SECONDS)):
            self._refusing = True
            url = self._address.url
            raise StoreError(f"the store {url} does not answer, so nothing is read until it does again", url=url)
        return self.submit(fn, *args).result()

    def submit(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> Future[T]:
        """Begin to read."""
        return self._threads.submit(lambda: self._read(fn, *args))

    def hurry(self) -> None:
        """Hear that the patience has to hurry."""
        for session in list(self._sessions):
            session.hurry()

    def close(self) -> None:
        """End the threads and their connections."""
        self._ended.set()
        self._threads.shutdown(wait=True)
        for session in self._sessions:
            session.close()
        self._sessions.clear()

    def _begin(self) -> None:
        self._own.session = Session(self._address, patience=self._patience)
        self._sessions.append(self._own.session)

    def _read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        session: Session = self._own.session
        try:
            return session.do(lambda driver: _within(driver, fn, *args), "could not be read")
        except StoreError as error:
            if isinstance(error.__cause__, TimeoutError):
                self._note_silence()
            raise

    def _note_silence(self) -> None:
        with self._noting:
            if self._answers.is_set() and not self._ended.is_set():
                self._answers.clear()
                threading.Thread(target=self._look, name="shoal-store-look", daemon=True).start()

    def _look(self) -> None:
        """Look whether the server answers, until it does."""
        session = Session(self._address)
        while not self._ended.is_set():
            try:
                session.do(lambda driver: driver.rows("SELECT 1"), "could not be read")
            except StoreError:
                self._ended.wait(_MOMENT_SECONDS)
            else:
                break
        session.close()
        with self._noting:
            self._refusing = False
            self._answers.set()


def _within(driver: PostgresDriver, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
    if fn in _ALONE:
        return fn(Reader(driver), *args)
    driver.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return fn(Reader(driver), *args)
    finally:
        driver.rollback()
