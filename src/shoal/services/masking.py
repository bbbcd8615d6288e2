"""What others may see of a service's configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shoal.config import shown

__all__ = ["masked"]

_SECRET = re.compile(
    r"passw|passphrase|token|secret|key|credential|bearer|authorization|(?<![a-z])(?:auth|pwd|dsn)(?![a-z])",
    re.IGNORECASE,
)
_WRITTEN = re.compile(r"(?i)((?:^|[?&;\s])[a-z_]*(?:passw(?:or)?d|token|secret|api_?key)=)[^&;\s]+")


def masked(value: Any) -> Any:
    """Return a configuration for others to see.

    What its key calls secret (``password``, ``auth``, ``api_key`` ...) is ``***``, and so are the passwords within URLs and
    ``key=value`` texts that stand anywhere in it.
    """
    if isinstance(value, Mapping):
        return {key: "***" if _SECRET.search(str(key)) else masked(each) for key, each in value.items()}
    if isinstance(value, str):
        return _WRITTEN.sub(r"\1***", shown(value) if "://" in value else value)
    return [masked(each) for each in value] if isinstance(value, (list, tuple)) else value
