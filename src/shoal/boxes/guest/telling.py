"""What a program's end looks like from outside: its traceback on stderr, its exit code."""

from __future__ import annotations

import os
import sys
from types import TracebackType

_HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


def own_traceback(error: BaseException) -> TracebackType | None:
    """Return the traceback of *error* without the calls of this package at its outer end."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename.startswith(_HERE):
        place = place.tb_next
    return place


def print_error(error: BaseException) -> None:
    """Print what the program raised to stderr, from the program's own first line on."""
    import traceback

    print_last(*traceback.format_exception(type(error), error, own_traceback(error)))


def print_last(*text: str) -> None:
    """Print to stderr, if the program has left that."""
    try:
        print(*text, sep="", end="", file=sys.stderr, flush=True)
    except (AttributeError, OSError, ValueError):
        return


def exit_code(leaving: SystemExit) -> int:
    """Return what ``sys.exit`` meant; a text is printed to stderr and means 1."""
    if leaving.code is None:
        return 0
    if isinstance(leaving.code, int):
        return leaving.code & 0xFF
    print_last(f"{leaving.code}\n")
    return 1
