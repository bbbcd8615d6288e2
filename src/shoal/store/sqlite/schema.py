"""The schema: numbered migrations, each applied once; ``schema.sql`` is what they add up to."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from shoal.store.sqlite.place import APPLICATION_ID

if TYPE_CHECKING:
    from shoal.store.sql.transaction import Reader, Transaction

__all__ = ["VERSION", "create", "measure", "migrate"]

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
_SIZE = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"

_MIGRATIONS = sorted(
    (entry for entry in (files("shoal.store.sqlite") / "migrations").iterdir() if entry.name.endswith(".sql")),
    key=lambda entry: entry.name,
)
VERSION = len(_MIGRATIONS)
"""The number of the newest migration, kept in ``PRAGMA user_version``."""


def create(cx: Transaction) -> None:
    """Make a new store in an empty database."""
    cx.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(cx, 0)


def migrate(cx: Transaction, found: int) -> None:
    """Apply the migrations after number *found*, each in its own transaction."""
    for number, migration in enumerate(_MIGRATIONS[found:], start=found + 1):
        script = migration.read_text(encoding="utf-8")
        cx.execute(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {number}; COMMIT")


def measure(reader: Reader) -> dict[str, object]:
    """Return the size in bytes, and how many rows each table has."""
    rows = {name: reader.value(f'SELECT count(*) FROM "{name}"') for (name,) in reader.rows(_TABLES)}
    return {"size_bytes": reader.value(_SIZE), "rows": rows}
