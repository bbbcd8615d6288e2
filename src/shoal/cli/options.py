"""What the commands share: options, and how words of the command line are read."""

from __future__ import annotations

import re
import sys
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from shoal.config import store_url
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock, as_utc

__all__ = ["EPILOG", "SETTINGS", "Json", "Store", "input_of", "moment", "seconds", "url_of"]

EPILOG = (
    "Exit codes: 0 done, 1 the work failed, 2 bad usage or no such thing, 3 store trouble, 130 interrupted. "
    "Errors go to standard error; --debug adds the traceback."
)
SETTINGS: dict[str, Any] = {"help_option_names": ["--help", "-h"], "max_content_width": 100}

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The store, as sqlite:///FILE, a plain path or postgresql://HOST/DATABASE.  "
        "[default: SHOAL_STORE, else ./shoal.db]",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON: one document, or a line for each item of a stream.")]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def url_of(store: str | None) -> str:
    """Return the URL of the store that the command line or the environment names; a plain path is a SQLite file."""
    url = store_url(None, store)
    return url if "://" in url else f"sqlite:///{url}"


def seconds(text: str) -> float:
    """Read a duration: ``90``, ``250ms``, ``90s``, ``10m``, ``2h``, ``7d``. Raises ConfigError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?", text.strip())
    if found is None:
        raise ConfigError(f"{text[:80]!r} is no duration", note="Write 90s, 250ms, 10m, 2h or 7d.")
    return float(found[1]) * _UNITS[found[2] or "s"]


def moment(text: str) -> datetime:
    """Read a time: a duration means so long ago, else ISO 8601, local where it names no zone. Raises ConfigError."""
    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError:
        if re.fullmatch(r"[\d.]+[a-z]*", text.strip()):
            return RealClock().now() - timedelta(seconds=seconds(text))
    raise ConfigError(f"{text[:80]!r} is no time", note="Write 2026-01-31T12:00 or, for so long ago, 90s, 10m, 2h, 7d.")


def input_of(text: str) -> dict[str, Any]:
    """Return a task's input: *text* as a JSON object, else ``{"message": text}``."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        if text.lstrip().startswith("{"):
            print(f"shoal: {text[:40]!r} is no JSON ({error}): taken as a message", file=sys.stderr)
        return {"message": text}
    return value if isinstance(value, dict) else {"message": text}
