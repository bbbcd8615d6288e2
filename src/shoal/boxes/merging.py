"""What is asked for one box, on top of what holds for all."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from shoal.boxes.asked import check_env
from shoal.boxes.levels import check_level
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.speccheck import check_spec
from shoal.errors import BoxSpecError

__all__ = ["check_options", "merged_limits", "merged_spec"]


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
        whole = msgspec.structs.replace(whole, env={**whole.env, **check_env(env)})
    return check_spec(whole)


def merged_limits(base: BoxLimits, memory_mib: float | None, cpus: float | None) -> BoxLimits:
    """Return *base* with other limits of memory and processors. Raises BoxSpecError."""
    given = {key: value for key, value in (("memory_mib", memory_mib), ("cpus", cpus)) if value is not None}
    limits = msgspec.structs.replace(base, **given)
    check_spec(BoxSpec(limits=limits))
    return limits


def check_options(logs: object, warm: object) -> None:
    """Raise BoxSpecError for what no runtime can do with lines, and for what is no number of spare guests."""
    if logs not in ("relay", "prefix", "none") and not callable(logs):
        raise BoxSpecError(f"logs must be relay, prefix, none or a function, not {logs!r:.80}")
    if isinstance(warm, bool) or not isinstance(warm, int) or warm < 0:
        raise BoxSpecError(f"warm must be a whole number from 0 up, not {warm!r:.80}")
