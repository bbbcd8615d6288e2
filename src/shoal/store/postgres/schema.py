"""The schema: numbered migrations, each applied once, by whichever node comes first."""

from __future__ import annotations

from importlib.resources import files

from shoal.errors import StoreError
from shoal.store.postgres.address import Address
from shoal.store.postgres.connection import PostgresDriver

__all__ = ["VERSION", "bring_up_to_date", "version_of"]

_MIGRATIONS = sorted(
    (entry for entry in (files("shoal.store.postgres") / "migrations").iterdir() if entry.name.endswith(".sql")),
    key=lambda entry: entry.name,
)
VERSION = len(_MIGRATIONS)
"""The number of the newest migration."""

_FORGET = "DELETE FROM writers WHERE at < now() - INTERVAL '7 days'"
_TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = ? ORDER BY table_name"


def version_of(driver: PostgresDriver, address: Address) -> int:
    """Return the version of what is there, 0 for nothing. Raises StoreError for tables of something else."""
    tables = [name for (name,) in driver.rows(_TABLES, (address.schema,))]
    if not tables:
        return 0
    if "schema_version" not in tables:
        raise StoreError(
            f"the schema {address.schema} holds tables that are not Shoal's ({', '.join(tables[:3])} …)",
            url=address.url,
            note="Name another one, which will be made: ?schema=NAME at the end of the URL.",
        )
    found: int = driver.rows("SELECT number FROM schema_version")[0][0]
    if found > VERSION:
        raise StoreError(
            f"the store has schema {found}, which is newer than this version of Shoal knows ({VERSION})",
            url=address.url,
            note="Upgrade Shoal on this node.",
        )
    return found


def bring_up_to_date(driver: PostgresDriver, address: Address) -> None:
    """Create what is missing, all or nothing. Nodes that come at once do so in turn; where nothing is, nobody waits."""
    if version_of(driver, address) == VERSION:
        driver.execute(_FORGET)
        return
    driver.begin()
    try:
        found = version_of(driver, address)
        if found == 0:
            driver.script(f"CREATE SCHEMA IF NOT EXISTS {address.schema}")
        for migration in _MIGRATIONS[found:]:
            driver.script(migration.read_text(encoding="utf-8"))
        if found < VERSION:
            driver.execute("UPDATE schema_version SET number = ?", (VERSION,))
        driver.commit()
    except BaseException:
        driver.rollback()
        raise
