"""Configuration: defaults, then ``shoal.toml``, then ``SHOAL_*`` variables, then what the caller says.

Every fault is found at once, before anything is opened.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from shoal.config.postgres import PostgresHosts, postgres_faults
from shoal.errors import ConfigError, nearest
from shoal.kernel.settings import Settings as Config

__all__ = [
    "Config",
    "PostgresHosts",
    "bus_url",
    "load_config",
    "meeting_place",
    "on_server",
    "output_folder",
    "postgres_faults",
    "shown",
    "store_file",
    "store_url",
    "validate",
]

_CHOICES: dict[str, tuple[str, ...]] = {
    "durability": ("full", "normal"),
    "launch_gate": ("process", "all"),
    "message_events": ("durable", "all", "off"),
    "log_level": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}
_SHARES = ("launch_memory_limit", "launch_cpu_limit")
_OPTIONAL = (*_SHARES, "retention_days")
_WHOLE = {"max_interruptions": 1, "max_agent_deaths": 1, "threads": 1, "warm_processes": 0}
_OTHER_VARIABLES = (
    *("SHOAL_STORE", "SHOAL_BUS", "SHOAL_ISOLATION", "SHOAL_AGENT_PATH"),
    *("SHOAL_REGISTRY_URL", "SHOAL_REGISTRY_TOKEN", "SHOAL_REGISTRY_TOKENS"),
    *("SHOAL_LONG", "SHOAL_REQUIRE_LEVELS"),  # of the tests
)
"""Variables that are no setting: other parts read them."""
_OTHER_PREFIXES = ("SHOAL_TEST_", "SHOAL_EXAMPLE_")
_FROM_ZERO = ("cancel_grace_seconds", "launch_max_delay_seconds")


def load_config(
    given: Config | Mapping[str, object] | None = None,
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Config:
    """Return the configuration: *given* over ``SHOAL_<KEY>`` variables over the table ``[shoal]`` of *file* over defaults.

    Args:
        given: keys of Config, or a whole Config, which then stands alone.
        file: a TOML file; None = ``shoal.toml`` in the current directory, if there is one.
        environment: variables; None = the process's. A name that begins with ``SHOAL_`` and that nobody knows is a fault.

    Raises:
        ConfigError: every fault, each with its origin, its key and the allowed values.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    if isinstance(given, Config):
        values = msgspec.structs.asdict(given)
        faults = validate(values)
    else:
        variables = os.environ if environment is None else environment
        for part, found in (_from_file(file), _from_environment(variables), _from_caller(given or {})):
            values |= part
            faults += found
    if faults:
        raise ConfigError(faults)
    return Config(**values)


def validate(values: Mapping[str, object]) -> list[str]:
    """Return every fault of *values* as a sentence; an empty list when all is well."""
    faults = []
    for key, value in values.items():
        if key in ("store", "bus"):
            faults.append(f"{key} is not set here: use SHOAL_{key.upper()}, or say it where the runtime is made")
        elif key not in Config.__struct_fields__:
            faults.append(f"unknown configuration key {key[:80]!r}{nearest(key, Config.__struct_fields__)}")
        elif not _good(key, value):
            faults.append(f"{key} must be {_allowed(key)}, not {value!r:.80}")
    return faults


def _good(key: str, value: object) -> bool:
    if key in _CHOICES:
        return value in _CHOICES[key]
    if key in ("auto_recover", "enable_metrics"):
        return isinstance(value, bool)
    if value is None:
        return key in _OPTIONAL
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    if key in _WHOLE:
        return isinstance(value, int) and value >= _WHOLE[key]
    if key in _SHARES:
        return 0 < value <= 1
    return value >= 0 if key in _FROM_ZERO else value > 0


def _allowed(key: str) -> str:
    if key in _CHOICES:
        return "one of " + ", ".join(_CHOICES[key])
    if key in ("auto_recover", "enable_metrics"):
        return "true or false"
    if key in _WHOLE:
        return f"a whole number from {_WHOLE[key]}"
    if key in _SHARES:
        return "above 0 and at most 1, or None"
    bound = "from 0" if key in _FROM_ZERO else "above 0"
    return f"a number {bound}" + (", or None" if key in _OPTIONAL else "")


Source = tuple[dict[str, Any], list[str]]
"""What one source says, and what is wrong with it."""


def _from_caller(given: Mapping[str, object]) -> Source:
    return dict(given), validate(given)


def _from_file(file: Path | None) -> Source:
    path = file or Path("shoal.toml")
    if file is None and not os.path.lexists(path):
        return {}, []
    if path.is_dir():
        return {}, [f"{path}: it is a folder, and the configuration would be read from it: rename it"]
    try:
        whole = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        text = error.strerror if isinstance(error, OSError) else error
        return {}, [f"{path}: it cannot be read: {text}"]
    table = whole.pop("shoal", {})
    faults = [_outside(key) for key in whole]
    if isinstance(table, dict):
        faults += validate(table)
    else:
        faults.append("shoal must be a table: [shoal], and the keys below it")
    return (table if isinstance(table, dict) else {}), [f"{path}: {fault}" for fault in faults]


def _outside(key: str) -> str:
    """Say what is wrong with a key or table beside ``[shoal]``."""
    if key in Config.__struct_fields__:
        return f"{key} stands outside of the table [shoal]: write it below a line [shoal]"
    return f"there is nothing that {key[:80]!r} could mean beside the table [shoal]{nearest(key, ['shoal'])}"


def _from_environment(environment: Mapping[str, str]) -> Source:
    values: dict[str, Any] = {}
    faults: list[str] = []
    settings = {f"SHOAL_{key.upper()}": key for key in Config.__struct_fields__}
    known = {*settings, *_OTHER_VARIABLES}
    for name, text in sorted(environment.items()):
        if name in settings:
            key = settings[name]
            values[key] = text if key in _CHOICES else _parse(text)
            faults += [f"environment variable {name}: {fault}" for fault in validate({key: values[key]})]
        elif name.startswith("SHOAL_") and name not in known and not name.startswith(_OTHER_PREFIXES):
            hint = nearest(name.removeprefix("SHOAL_"), [word.removeprefix("SHOAL_") for word in known])
            hint = hint.replace("'", "'SHOAL_", 1)  # what all names share would make any two alike
            faults.append(f"environment variable {name[:80]}: there is no such setting{hint}")
    return values, faults


def _parse(text: str) -> object:
    if text.lower() in ("none", ""):
        return None
    try:
        return msgspec.json.decode(text.lower() if text.lower() in ("true", "false") else text)
    except msgspec.DecodeError:
        return text


def store_url(storage_path: str | os.PathLike[str] | None, store: str | None) -> str:
    """Return the URL of the store: what the caller says, else ``SHOAL_STORE``, else ``sqlite:///./shoal.db``.

    A path with ``://`` in it is a URL.

    Raises:
        ConfigError: both are given, or the URL of a server lacks its slashes.
    """
    if storage_path is not None and store is not None:
        raise ConfigError("storage_path and store are two ways to say the same: give one of them")
    if storage_path is not None:
        path = os.fspath(storage_path)
        return path if "://" in path else f"sqlite:///{path}"
    url = store or os.environ.get("SHOAL_STORE") or "sqlite:///./shoal.db"
    if re.match(r"postgres(?:ql)?:(?!//)", url):
        seen = re.sub(r":.*@", ":***@", url, flags=re.DOTALL)
        raise ConfigError(f"store: {seen!r:.80} is no URL: write postgresql://HOST/DATABASE, with two slashes")
    return url


def bus_url(bus: str | None, store: str) -> str:
    """Return the URL of the bus: what the caller says, else ``SHOAL_BUS``, else what goes with the store at URL *store*:
    a PostgreSQL server carries both, and for a SQLite file it is ``local://``."""
    return bus or os.environ.get("SHOAL_BUS") or (store if on_server(store) else "local://")


def on_server(url: str) -> bool:
    """Tell whether the store at *url* is on a server that other machines reach."""
    return url.startswith(("postgresql://", "postgres://"))


def shown(url: str) -> str:
    """Return *url* for people to read: without its password, wherever that stands, and without the token of a bus."""
    url = re.sub(r"(://[^:/@]*):.*@", r"\1:***@", url, flags=re.DOTALL)
    url = re.sub(r"^((?:nats|tls)://)[^:@/]*@", r"\1***@", url)
    return re.sub(r"(?i)([?&](?:ssl)?password=)[^&]*", r"\1***", url)


def store_file(url: str) -> Path | None:
    """Return the SQLite file that *url* names, None for a store in memory or of another kind."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def meeting_place(url: str) -> Path | None:
    """Return the private folder beside the SQLite file where nodes on the same file meet, None for one in memory."""
    file = store_file(url)
    return None if file is None else file.with_name(f".{file.name}.nodes")


def output_folder(url: str) -> Path | None:
    """Return the private folder where what agents within walls print is kept, each by its id; None for one in memory."""
    place = meeting_place(url)
    return None if place is None else place / "output"
