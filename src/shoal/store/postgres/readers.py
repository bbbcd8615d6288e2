"""The connections of a node that read, each with a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

from shoal.errors import StoreError
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import Link, connect, driver_module, lost_errors, said
from shoal.store.postgres.driver import PostgresDriver
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
        self._links: list[Link] = []
        self._lost = lost_errors()
        self._failed: tuple[type[Exception], ...] = (driver_module().PostgresError,)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="shoal-store-reader")

    def read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        """Return ``fn(reader, *args)`` over one state of what is committed. Waits for it."""
        return self.submit(fn, *args).result()

    def submit(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> Future[T]:
        """Begin to read."""
        return self._threads.submit(lambda: self._read(fn, *args))

    def close(self) -> None:
        """End the threads and their connections."""
        self._threads.shutdown(wait=True)
        for link in self._links:
            link.close()
        self._links.clear()

    def _read(self, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        try:
            try:
                return self._within(self._link(), fn, *args)
            except self._lost as error:
                if isinstance(error, TimeoutError):  # whoever waits has waited for long enough
                    raise
                self._drop()  # an old connection whose server has gone: a new one may do
                return self._within(self._link(), fn, *args)
        except (*self._lost, *self._failed) as error:
            self._drop()
            text = f"the store {self._address.url} could not be read: {said(error)}"
            raise StoreError(text, url=self._address.url) from error

    def _within(self, link: Link, fn: Callable[[Reader, *Ts], T], *args: *Ts) -> T:
        driver = PostgresDriver(link)
        if fn in _ALONE:
            return fn(Reader(driver), *args)
        driver.script("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            return fn(Reader(driver), *args)
        finally:
            driver.rollback()

    def _link(self) -> Link:
        link: Link | None = getattr(self._own, "link", None)
        if link is None or not link.alive:
            self._drop()
            link = self._own.link = connect(self._address)
            self._links.append(link)
        return link

    def _drop(self) -> None:
        link: Link | None = getattr(self._own, "link", None)
        if link is not None:
            self._own.link = None
            self._links.remove(link)
            link.drop()
