"""How results are shown: tables for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

__all__ = ["clip", "document", "facts", "line", "local", "table", "text_of"]

_WIDE = 1000  # columns where there is no terminal: nothing is cut


def document(value: object) -> None:
    """Print *value* as one JSON document."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def line(value: object) -> None:
    """Print *value* as one line of JSON, at once."""
    print(msgspec.json.encode(value).decode(), flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """Print a table; the first column is never cut. *empty* is said on standard error when there are no rows."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for place, name in enumerate(columns):
        drawn.add_column(name.upper(), no_wrap=True, overflow="ignore" if place == 0 else "ellipsis")
    for row in rows:
        drawn.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE)
    console.print(drawn)


def facts(values: Mapping[str, object]) -> None:
    """Print names and values, a line each; what is None or empty is left out."""
    shown = {name: value for name, value in values.items() if value not in (None, "", (), [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {text_of(value)}")


def text_of(value: object) -> str:
    """Return *value* for people: text as it is, times local, the rest as JSON."""
    if isinstance(value, datetime):
        return local(value)
    return str(value) if isinstance(value, str) else msgspec.json.encode(value).decode()


def local(when: datetime | None) -> str:
    """Return a time of day and date where the reader is, to the second."""
    return "" if when is None else when.astimezone().isoformat(sep=" ", timespec="seconds")


def clip(text: str | None, most: int = 60) -> str:
    """Return the first line of *text*, shortened."""
    first = (text or "").partition("\n")[0]
    return first if len(first) <= most else first[: most - 1] + "…"
