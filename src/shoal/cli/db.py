"""``shoal db``: info, migrate, prune."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from shoal.cli.options import EPILOG, SETTINGS, Json, Store, seconds, url_of
from shoal.cli.show import document, facts
from shoal.client import Client
from shoal.config import load_config, store_file
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock
from shoal.store import settle

__all__ = ["app", "info", "migrate", "prune"]

_HELP = """Look after the file of a store.

\b
Example:
  shoal db info
"""

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, context_settings=SETTINGS, help=_HELP)


@app.command("info", epilog=EPILOG)
def info(store: Store = None, json: Json = False) -> None:
    """Show where a store is, its schema, its size and its rows by table.

    \b
    Example:
      shoal db info --json
    """
    found = asyncio.run(_info(url_of(store)))
    if json:
        document(found)
    else:
        facts(found)


async def _info(url: str) -> dict[str, object]:
    async with Client(store=url, read_only=True) as client:
        found = client.store.info()
    found.pop("durability", None)  # each that opens it chooses its own
    file = store_file(url)
    log = None if file is None else file.with_name(f"{file.name}-wal")
    return {**found, "log_bytes": log.stat().st_size if log is not None and log.exists() else 0}


@app.command("migrate", epilog=EPILOG)
def migrate(store: Store = None, json: Json = False) -> None:
    """Bring a store to the schema of this version of Shoal.

    A runtime does so at its start. In PostgreSQL it leaves there what older nodes need, so that they go on; this takes
    it away, when none of them is connected any more.

    \b
    Example:
      shoal db migrate --store /var/lib/agents/shoal.db
    """
    version = asyncio.run(_migrate(url_of(store)))
    if json:
        document({"schema_version": version})
    else:
        print(f"the store has schema {version}")


async def _migrate(url: str) -> object:
    async with Client(store=url) as client:
        found = client.store.info()["schema_version"]
    await settle(url)
    return found


@app.command("prune", epilog=EPILOG)
def prune(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How old, as 12h or 30d.  [default: retention_days of the configuration]"),
    ] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Remove finished tasks and runs, events and dead letters that are old, and nodes that were lost.

    Tasks that unfinished ones depend on stay, and runs that can go on.

    \b
    Example:
      shoal db prune --older-than 30d
    """
    gone = asyncio.run(_prune(url_of(store), _age(older_than)))
    if json:
        document(gone)
    else:
        print("removed " + ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in gone.items()))


def _age(older_than: str | None) -> float:
    if older_than is not None:
        return seconds(older_than)
    days = load_config().retention_days
    if days is None:
        raise ConfigError("retention_days is None: nothing is too old", note="Say how old with --older-than, as 30d.")
    return days * 86400


async def _prune(url: str, age: float) -> dict[str, int]:
    async with Client(store=url) as client:
        return await client.prune(RealClock().now() - timedelta(seconds=age))
