"""What is asked for one box, on top of what holds for all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shoal.boxes.levels import check_level
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.speccheck import check_spec

__all__ = ["merged_limits", "merged_spec"]


def merged_spec(base: BoxSpec, spec: BoxSpec | None, isolation: str | None, env: Mapping[str, str] | None) -> BoxSpec:
    """Return *base* with what *spec* says otherwise, and with a level and further variables. Raises BoxSpecError."""
    whole = base
    if spec is not None:
        given = msgspec.structs.asdict(check_spec(spec))
        plain = msgspec.structs.asdict(BoxSpec())
        whole = msgspec.structs.replace(
            whole, **{field: value for field, value in given.items() if value != plain[field]}
        )
    if isolation is not None:
        whole = msgspec.structs.replace(whole, isolation=check_level(isolation))
    if env is not None:
        whole = msgspec.structs.replace(whole, env={**whole.env, **env})
    return check_spec(whole)


def merged_limits(base: BoxLimits, memory_mib: float | None, cpus: float | None) -> BoxLimits:
    """Return *base* with other limits of memory and processors. Raises BoxSpecError."""
    given = {key: value for key, value in (("memory_mib", memory_mib), ("cpus", cpus)) if value is not None}
    limits = msgspec.structs.replace(base, **given)
    check_spec(BoxSpec(limits=limits))
    return limits
