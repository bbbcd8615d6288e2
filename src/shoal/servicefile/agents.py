"""The tables ``[agents.NAME]`` of a service file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from shoal.errors import ConfigError, PayloadError, nearest
from shoal.kernel.agent import RestartPolicy
from shoal.kernel.payload import checked
from shoal.kernel.registration import check_name, restart_policy
from shoal.services.agent import ServiceAgent
from shoal.tomlfile.faults import Faults, Path_
from shoal.tomlfile.values import Told, converted, is_time, read_function, seconds_of

__all__ = ["LEVELS", "ServiceTable", "read_tables"]

KEYS = ("class", "count", "isolation", "options", "restart")
LEVELS = ("process", "inline", "thread", "bubblewrap", "gvisor", "microvm", "auto")
MODES = ("on_failure", "always", "never")
MOST = 10_000


class ServiceTable(msgspec.Struct, frozen=True, kw_only=True):
    """Instances of one class, called ``name_0``, ``name_1`` ...

    Attributes:
        name: of the table.
        agent_class: what they are made of, each as ``agent_class(options)``.
        count: how many.
        isolation: where the code of each runs.
        options: a JSON object.
        restart: when and how often one that died is started again.
    """

    name: str
    agent_class: type[ServiceAgent]
    count: int = 1
    isolation: str = "process"
    options: dict[str, Any] = {}
    restart: RestartPolicy = RestartPolicy()


def read_tables(whole: Mapping[str, Any], path_of: Told, faults: Faults) -> tuple[ServiceTable, ...]:
    """Return what the tables ``[agents.NAME]`` say, in order; without any that has a fault."""
    given = whole.get("agents")
    if not isinstance(given, dict) or not given:
        faults.add(("agents",), 'there are no agents: write [agents.NAME], and class = "FILE.py:CLASS" below it')
        return ()
    found = (_read(name, table, path_of, faults) for name, table in given.items())
    return tuple(table for table in found if table is not None)


def _read(name: str, given: object, path_of: Told, faults: Faults) -> ServiceTable | None:
    before = len(faults)
    place = ("agents", name)
    if not isinstance(given, dict):
        faults.add(place, f"{name} must be a table: [agents.{name}], and its keys below it")
        return None
    table = faults.keys(given, place, KEYS)
    count = table.get("count", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST:
        faults.add((*place, "count"), f"count must be a whole number from 1 to {MOST}, not {count!r:.80}")
    with faults.of(place):
        check_name(f"{name}_{count}")
        if name != " ".join(name.split()) or not name.isprintable():
            raise ConfigError(f"{name[:80]!r}: the name of an agent is text in one line")
    isolation = table.get("isolation", "process")
    if isolation not in LEVELS:
        hint = nearest(str(isolation), LEVELS)
        faults.add(
            (*place, "isolation"),
            f"there is no isolation {str(isolation)[:80]!r}{hint}; it is one of {', '.join(LEVELS)}",
        )
    options = _options(table.get("options", {}), (*place, "options"), faults)
    restart = _restart(table.get("restart", {}), (*place, "restart"), faults)
    agent_class = _class(table, place, path_of, faults)
    if len(faults) > before or agent_class is None:
        return None
    return ServiceTable(
        name=name, agent_class=agent_class, count=count, isolation=isolation, options=options, restart=restart
    )


def _class(table: Mapping[str, Any], place: Path_, path_of: Told, faults: Faults) -> type[ServiceAgent] | None:
    word = table.get("class")
    if word is None:
        faults.add(place, 'there is no class: write class = "FILE.py:CLASS", such as "workers.py:Worker"')
        return None
    with faults.of((*place, "class"), "class: "):
        if not isinstance(word, str):
            raise ConfigError(f'it must be text, as "workers.py:Worker", not {word!r:.80}')
        found = read_function(word, path_of, "class")
        if not (isinstance(found, type) and issubclass(found, ServiceAgent)):
            raise ConfigError(f"{word[:200]} is no class of ServiceAgent")
        return found
    return None


def _options(given: object, place: Path_, faults: Faults) -> dict[str, Any]:
    if not isinstance(given, dict):
        faults.add(place, f"options must be a table, such as {{ path = 'data' }}, not {given!r:.80}")
        return {}
    try:
        options, _ = checked(given, "options")
    except PayloadError as error:  # a date, say: TOML has more values than JSON
        faults.add(place, str(error))
        return {}
    assert isinstance(options, dict)
    return options


def _restart(given: object, place: Path_, faults: Faults) -> RestartPolicy:
    """Return what ``restart`` says: a word for its mode, or a table."""
    if isinstance(given, str):
        given = {"mode": given}
    if not isinstance(given, dict):
        faults.add(place, f"restart must be one of {', '.join(MODES)}, or a table, not {given!r:.80}")
        return RestartPolicy()
    policy = RestartPolicy()
    for key, value in faults.keys(given, place, RestartPolicy.__struct_fields__).items():
        before = len(faults)
        with faults.of((*place, key), f"{key}: "):
            value = seconds_of(value) if is_time(key) else value
        if len(faults) > before:
            continue
        with faults.of((*place, key)):
            read = converted({key: value}, RestartPolicy)
            policy = restart_policy(msgspec.structs.replace(policy, **{key: getattr(read, key)}))
    return policy
