"""``load_services``: a service file becomes what is to be started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from shoal.bus import open_bus
from shoal.errors import ConfigError
from shoal.kernel.clock import RealClock
from shoal.kernel.limits import ResourceLimit
from shoal.servicefile.agents import ServiceTable, read_tables
from shoal.servicefile.registry import RegistryTable, read_registry
from shoal.tomlfile.faults import Faults
from shoal.tomlfile.opening import open_toml
from shoal.tomlfile.values import is_time, read_store, seconds_of, told

__all__ = ["ServiceFile", "load_services"]

TABLES = ("runtime", "registry", "limits", "agents")
RUNTIME_KEYS = ("store", "bus", "grace")
GRACE_SECONDS = 10.0
_LIMITS = tuple(name for name in ResourceLimit.__struct_fields__ if name not in ("limit_id", "name"))
_NONE = msgspec.structs.replace(ResourceLimit(), **dict.fromkeys(_LIMITS))


class ServiceFile(msgspec.Struct, frozen=True, kw_only=True):
    """Services that a file describes; ``load_services`` makes it.

    Attributes:
        path: of the file.
        store: the URL of the store.
        named: whether the file or the environment names the store; else it is the default one.
        bus: the URL of the bus; None: what goes with the store.
        grace: seconds that requests under way have when the services are told to end.
        agents: its tables ``[agents.NAME]``, in order.
        registry: where the registry is served; None: it is not.
        limits: of the runtime; none but those of the file.
    """

    path: Path
    store: str
    named: bool
    bus: str | None
    grace: float
    agents: tuple[ServiceTable, ...]
    registry: RegistryTable | None
    limits: ResourceLimit


def load_services(path: str | os.PathLike[str]) -> ServiceFile:
    """Read a service file. Nothing is started; the files that it names for classes are loaded.

    Args:
        path: of the TOML file. Files that it names by relative paths stand beside it; its store does not: it is relative to
            the working directory.

    Raises:
        ConfigError: every fault of the file, each with its line.
    """
    file = Path(path)
    whole, faults = open_toml(file, "service file", TABLES, note="docs/how-to/run-services.md shows one.")
    path_of = told(file.absolute().parent)
    runtime = faults.table(whole, ("runtime",), RUNTIME_KEYS)
    store = read_store(runtime, ("runtime", "store"), faults)
    named = bool(runtime.get("store") or os.environ.get("SHOAL_STORE"))
    bus = _bus(runtime, faults)
    grace = _grace(runtime, faults)
    registry = read_registry(whole, path_of, faults)
    limits = _limits(whole, faults)
    agents = read_tables(whole, path_of, faults)
    faults.check()
    return ServiceFile(
        path=file, store=store, named=named, bus=bus, grace=grace, agents=agents, registry=registry, limits=limits
    )


def _bus(table: Mapping[str, Any], faults: Faults) -> str | None:
    given = table.get("bus")
    if given is None:
        return None
    with faults.of(("runtime", "bus"), "bus: "):
        if not isinstance(given, str):
            raise ConfigError(f"it must be a URL such as nats://HOST:4222/NAMESPACE, not {given!r:.80}")
        open_bus(given, clock=RealClock())
        return given
    return None


def _grace(table: Mapping[str, Any], faults: Faults) -> float:
    place = ("runtime", "grace")
    with faults.of(place, "grace: "):
        found = seconds_of(table.get("grace", GRACE_SECONDS))
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found < float("inf"):
            raise ConfigError(f"it must be a time from 0, such as 10 or '30s', not {table['grace']!r:.80}")
        return float(found)
    return GRACE_SECONDS


def _limits(whole: Mapping[str, Any], faults: Faults) -> ResourceLimit:
    """Return what ``[limits]`` says; what it does not say has no limit."""
    found: dict[str, Any] = {}
    for key, value in faults.table(whole, ("limits",), _LIMITS).items():
        with faults.of(("limits", key), f"{key}: "):
            found[key] = seconds_of(value) if is_time(key) else value
            try:
                msgspec.structs.replace(_NONE, **{key: found[key]}).validate()
            except ConfigError:
                raise ConfigError(f"it must be a number above 0, not {value!r:.80}") from None
    return msgspec.structs.replace(_NONE, **found)
