"""Names of agents: which can be, and whether those that are told are there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from shoal.errors import nearest
from shoal.kernel.registration import check_name
from shoal.tomlfile.faults import Faults

__all__ = ["check_handoffs", "check_names", "is_name"]


def is_name(name: str, faults: Faults) -> bool:
    """Tell whether an agent can be called so; note it if not."""
    before = len(faults)
    place = ("agents", name)
    with faults.of(place):
        check_name(name)
    if name != " ".join(name.split()) or not name.isprintable():
        faults.add(place, f"{name[:80]!r}: the name of an agent is text in one line")
    return len(faults) == before


def check_names(tables: Collection[str], names: Mapping[str, Sequence[str]], faults: Faults) -> None:
    """Note instances (their *names*, by agent) that are called as another agent is."""
    for name, instances in names.items():
        for instance in instances[1:]:
            if instance in tables:
                faults.add(("agents", instance), f"{instance!r} is also the name of an instance of {name!r}")


def check_handoffs(tables: Mapping[str, Any], known: Collection[str], faults: Faults) -> None:
    """Note handoffs to agents that are not there."""
    for name, table in tables.items():
        handoffs = table.get("handoffs") if isinstance(table, dict) else None
        for target in handoffs if isinstance(handoffs, list) else ():
            if isinstance(target, str) and target not in known:
                hint = nearest(target, known)
                faults.add(("agents", name, "handoffs"), f"handoffs: there is no agent {target[:80]!r}{hint}")
