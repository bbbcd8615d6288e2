"""New rows of a transaction, until they are written: those of one statement together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Driver, Params

__all__ = ["NewRows"]


class NewRows:
    """Rows that were asked for and are not written yet, in order.

    ``offered`` is what stands in those of them that nothing waits for: a claim of this transaction may still give it
    away, and change its row.
    """

    def __init__(self, driver: Driver) -> None:
        self.offered: list[Any] = []
        self._driver = driver
        self._rows: dict[str, list[Params]] = {}  # by statement
        self._offered: dict[str, list[Params]] = {}  # these come before the others

    def __len__(self) -> int:
        return sum(map(len, (*self._rows.values(), *self._offered.values())))

    def insert(self, sql: str, params: Sequence[Params]) -> None:
        """Write new rows, at the latest before the next statement of another kind."""
        self._rows.setdefault(sql, []).extend(params)

    def offer(self, sql: str, params: Sequence[Params], what: Sequence[Any]) -> None:
        """Write new rows, of *what*, at the latest before the next statement that may ask for them."""
        self.write_waited_for()
        self._offered.setdefault(sql, []).extend(params)
        self.offered += what

    def write_waited_for(self) -> None:
        """Write those that a statement may wait for which has nothing to do with what is offered."""
        if self._rows:
            self.write()

    def write(self) -> None:
        """Write all."""
        if self._offered or self._rows:
            for sql, params in self.taken():
                self._driver.executemany(sql, params)

    def taken(self) -> list[tuple[str, list[Params]]]:
        """Return all, by statement: whoever calls it writes them."""
        taken: dict[str, list[Params]] = {}  # of one statement together: two in one would have no order among them
        for sql, rows in (*self._offered.items(), *self._rows.items()):
            if rows:
                taken.setdefault(sql, []).extend(rows)
        self.clear()
        return list(taken.items())

    def clear(self) -> None:
        """Forget all."""
        self.offered = []
        self._offered = {}
        self._rows = {}
