"""What all handles of a host share."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shoal.kernel.ports import Clock

__all__ = ["HandleSettings"]


class HandleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What all handles of a host share. Sizes in bytes, times in seconds; ``at_once`` bounds the calls of one child."""

    clock: Clock
    on_line: Callable[[str, str], None]
    max_message: int
    start_timeout: float = 30.0
    at_once: int = 1024
    in_flight: int = 256
