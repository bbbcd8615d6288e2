"""The migrations, by number, and how a program says which of them it knows.

``NNNN_name.sql`` is applied by the first program that knows it, while older ones go on: it may only add, in words that
they bear (a column that may be NULL or has a default, a table, an index). What they would not bear (to drop, to rename, to
forbid) stands in ``NNNN_name.post.sql`` and is applied when somebody says so, by ``shoal db migrate``, and no older program
is connected. None may need the ``post`` of one before it.
"""

from __future__ import annotations

import zlib
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

__all__ = ["KNOWN", "Migrations", "presence", "read"]

_POST = ".post.sql"


class Migrations(NamedTuple):
    """What a program knows: the texts that add, in order, and those that take away, by number."""

    adding: tuple[str, ...]
    taking: dict[int, str]

    @property
    def version(self) -> int:
        """Return the number of the newest one."""
        return len(self.adding)


def read(folder: Traversable) -> Migrations:
    """Return the migrations in *folder*."""
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return Migrations(
        tuple(file.read_text(encoding="utf-8") for file in found if not file.name.endswith(_POST)),
        {int(file.name[:4]): file.read_text(encoding="utf-8") for file in found if file.name.endswith(_POST)},
    )


KNOWN = read(files("shoal.store.postgres") / "migrations")
"""The migrations of this program."""


def presence(schema: str) -> int:
    """Return the class of the advisory locks that programs hold on *schema* while they are connected: each its version."""
    return zlib.crc32(f"shoal programs of {schema}".encode()) >> 1
