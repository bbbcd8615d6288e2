"""A connection that is opened when it is needed, for what does no harm when it is done twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from shoal.errors import StoreError
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import Link, connect, driver_module, lost_errors, said
from shoal.store.postgres.driver import PostgresDriver
from shoal.store.postgres.patience import Patience

__all__ = ["Session"]

T = TypeVar("T")


class Session:
    """One connection to a database; by one thread at a time.

    Args:
        address: database and schema.
        durability: ``full`` or ``normal``.
        patience: how long a server that does not answer is waited for at most.
    """

    def __init__(self, address: Address, durability: str = "full", patience: Patience | None = None) -> None:
        self._address = address
        self._durability = durability
        self._lost = lost_errors()
        self._failed: tuple[type[Exception], ...] = (driver_module().PostgresError,)
        self._link: Link | None = None
        self._patience = patience

    def do(self, work: Callable[[PostgresDriver], T], what: str) -> T:
        """Return what *work* returns, which is done once more when the connection had been lost.

        Raises StoreError, which says that the store *what*, and why.
        """
        try:
            try:
                return work(self._driver())
            except self._lost as error:
                if isinstance(error, TimeoutError):  # whoever waits has waited for long enough
                    raise
                self._drop()  # an old connection whose server has gone: a new one may do
                return work(self._driver())
        except (*self._lost, *self._failed) as error:
            self._drop()
            raise StoreError(f"the store {self._address.url} {what}: {said(error)}", url=self._address.url) from error

    def hurry(self) -> None:
        """Hear that the patience has to hurry, also with what is waited for now. From any thread."""
        if (link := self._link) is not None:
            link.hurry()

    def close(self) -> None:
        """Take leave of the server."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _driver(self) -> PostgresDriver:
        if self._link is None or not self._link.alive:
            self._drop()
            self._link = connect(self._address, durability=self._durability, patience=self._patience)
        return PostgresDriver(self._link)

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()
