"""The command ``shoal``: run agents, and look at, feed and mend a store beside a running runtime."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line (default: the process's) and return its exit code."""
    from shoal.cli.app import carry_out

    return carry_out(arguments)
