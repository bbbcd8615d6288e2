"""What all handles of a host share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from shoal.kernel.ports import Clock

__all__ = ["HandleSettings"]


class HandleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all handles of a host share. Sizes in bytes, times in seconds; ``at_once`` bounds the calls of one child.

    ``output``: the folder in which what agents print is kept, None for nowhere.
    """

    clock: Clock
    on_line: Callable[[str, str], None]
    max_message: int
    start_timeout: float = 30.0
    at_once: int = 1024
    in_flight: int = 256
    output: Path | None = None
