"""What the exit code of a child's command says of the program in it."""

from __future__ import annotations

import signal

__all__ = ["program_code"]


def program_code(level: str, code: int, said: int | None = None) -> int:
    """Return the program's exit code, -n for death by signal n.

    Sandboxes report such a death as 128 + n, which a program may also choose as its own code: then it has *said* so.
    """
    if level != "process" and 128 < code < 128 + signal.NSIG and said != code:
        return 128 - code
    return code
