"""What a box finds around it: its imports, environment, directory, output and limits."""

from __future__ import annotations

import os
import resource
import sys

from .codec import Record
from .program import fresh_main
from .start import import_from


def prepare(assign: Record) -> None:
    """Make this process what the box is to be, before any user code."""
    import_from(assign["path"])
    os.environ.clear()
    os.environ.update(assign["env"])
    if assign["cwd"] is not None:
        os.chdir(assign["cwd"])
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    # Others are heard soon while the program computes: a command that is run beside it takes many turns.
    sys.setswitchinterval(0.001)
    fresh_main()


def limit(rlimits: dict[str, int]) -> None:
    """Bound what this process and all that it starts may take."""
    for name, value in rlimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        hard = resource.getrlimit(number)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (most, most))
