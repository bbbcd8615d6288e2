"""Names of tools that are made of paths and hosts."""

from __future__ import annotations

import re
from collections.abc import Collection

__all__ = ["free_name"]


def free_name(verb: str, text: str, taken: Collection[str]) -> str:
    """Return ``verb_text`` in what the name of a tool may have, with a number when it is *taken*."""
    plain = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")[:40] or "here"
    name, number = f"{verb}_{plain}", 1
    while name in taken:
        number += 1
        name = f"{verb}_{plain}_{number}"
    return name
