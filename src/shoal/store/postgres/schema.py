"""The schema: numbered migrations, each applied once, by whichever program comes first, while others go on working."""

from __future__ import annotations

import threading
from collections.abc import Callable

from shoal.errors import StoreError
from shoal.kernel.clock import RealClock
from shoal.store.postgres import versions
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import held_errors
from shoal.store.postgres.driver import PostgresDriver

__all__ = ["bring_up_to_date", "settle", "version_of"]

_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
# A statement that waits for a table holds up all who come after it: so it waits for moments, and lets them pass in between.
_MOMENT = "SET LOCAL lock_timeout = '300ms'; SET LOCAL statement_timeout = 0"
_FORGET = "DELETE FROM writers WHERE at < now() - INTERVAL '7 days'"
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name"
# The column came with migration 4.
_VERSION = "SELECT number, coalesce(CAST(to_jsonb(v) ->> 'settled' AS bigint), 0) FROM schema_version AS v"
# Until the end of this transaction; an older program that connects meanwhile waits, and sees then that it is refused.
_NONE_OLDER = """SELECT bool_and(pg_try_advisory_xact_lock(CAST(? AS int), CAST(version AS int)))
    FROM generate_series(0, ?) AS version"""
_HOLDERS = """SELECT DISTINCT pid FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE CAST(relnamespace AS regnamespace) = CAST(quote_ident(?) AS regnamespace) AND granted AND pid <> pg_backend_pid()
    ORDER BY pid"""


def version_of(driver: PostgresDriver, address: Address) -> int:
    """Return the version of what is there, 0 for nothing; it may be newer than this program as long as that can bear it.

    Raises StoreError for tables of something else, and for a schema in which this program would not find its way.
    """
    tables = [name for (name,) in driver.rows(_TABLES, (address.schema,))]
    if not tables:
        return 0
    if "schema_version" not in tables:
        raise StoreError(
            f"the schema {address.schema} holds tables that are not Shoal's ({', '.join(tables[:3])} …)",
            url=address.url,
            note="Name another one, which will be made: ?schema=NAME at the end of the URL.",
        )
    found: int
    found, settled = driver.rows(_VERSION)[0]
    if settled > versions.KNOWN.version:
        raise StoreError(
            f"the store has schema {found}, which is newer than this version of Shoal bears ({versions.KNOWN.version})",
            url=address.url,
            note="Upgrade Shoal on this node.",
        )
    return found


def bring_up_to_date(driver: PostgresDriver, address: Address) -> None:
    """Add what is missing. Programs that come at once do so in turn; where nothing is missing, nobody waits.

    Raises StoreError: somebody else has held a table for a minute; nothing of that migration is done then.
    """
    if version_of(driver, address) >= versions.KNOWN.version:
        driver.execute(_FORGET)
        return
    more = True
    while more:
        more = _in_a_moment(driver, address, lambda: _add_next(driver, address))


def settle(driver: PostgresDriver, address: Address) -> None:
    """Take away what only older programs need, and refuse them from then on.

    Raises StoreError: some are connected, or somebody else has held a table for a minute; nothing is done then.
    """
    more = True
    while more:
        more = _in_a_moment(driver, address, lambda: _take_next(driver, address))


def _add_next(driver: PostgresDriver, address: Address) -> bool:
    """Apply one migration, all of them where nothing is; tell whether there may be more."""
    found = version_of(driver, address)
    if found >= versions.KNOWN.version:
        return False
    fresh = found == 0
    if fresh:
        driver.script(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"')
    number = versions.KNOWN.version if fresh else found + 1
    for text in versions.KNOWN.adding[found:number]:
        driver.script(text)
    driver.execute("UPDATE schema_version SET number = ?", (number,))
    if fresh:
        for number in sorted(versions.KNOWN.taking):
            _take(driver, number)
    return not fresh


def _take_next(driver: PostgresDriver, address: Address) -> bool:
    version_of(driver, address)
    settled: int = driver.rows("SELECT settled FROM schema_version")[0][0]
    number = min((number for number in versions.KNOWN.taking if number > settled), default=None)
    if number is None:
        return False
    if not driver.rows(_NONE_OLDER, (versions.presence(address.schema), number - 1))[0][0]:
        raise StoreError(
            f"programs of an older version are connected, which need what migration {number} takes away",
            url=address.url,
            note="Drain the nodes of the older version, end its other programs, and say it again.",
        )
    _take(driver, number)
    return True


def _take(driver: PostgresDriver, number: int) -> None:
    driver.script(versions.KNOWN.taking[number])
    driver.execute("UPDATE schema_version SET settled = ?", (number,))


def _in_a_moment(driver: PostgresDriver, address: Address, change: Callable[[], bool]) -> bool:
    """Make a change in a transaction of its own, in a moment in which nobody is in its way."""
    clock = RealClock()
    until = clock.monotonic() + _WAIT_SECONDS
    while True:
        try:
            driver.begin()
            driver.script(_MOMENT)
            more = change()
            driver.commit()
            return more
        except held_errors() as error:
            driver.rollback()
            if clock.monotonic() > until:
                raise _held(driver, address) from error
        except BaseException:
            driver.rollback()
            raise
        threading.Event().wait(_PAUSE_SECONDS)


def _held(driver: PostgresDriver, address: Address) -> StoreError:
    holders = ", ".join(str(pid) for (pid,) in driver.rows(_HOLDERS, (address.schema,)))
    return StoreError(
        f"the schema {address.schema} could not be changed: for {_WAIT_SECONDS:g} s others have held its tables "
        f"(server processes {holders or 'unknown'})",
        url=address.url,
        note="End the long transactions (a dump, a report), and start again.",
    )
