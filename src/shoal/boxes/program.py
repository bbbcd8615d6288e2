"""Packing a box's functions for their journey into it. It goes one way: nothing that comes out is unpickled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.boxes.pack import culprit, own_modules_by_value
from shoal.errors import BoxProgramError

__all__ = ["Program"]

_MIB = 1 << 20


class Program:
    """What a box is to run: a task, handlers of messages, handlers of events. The last task wins."""

    def __init__(self) -> None:
        """Nothing is registered yet."""
        self.task: Callable[..., Any] | None = None
        self.messages: list[Callable[..., Any]] = []
        self.events: list[tuple[str, Callable[..., Any]]] = []

    def __bool__(self) -> bool:
        """Whether anything is registered."""
        return bool(self.task or self.messages or self.events)

    def pack(self, box: str, max_mib: float) -> bytes:
        """Return the program for ``cloudpickle.loads`` in a box.

        What the box cannot import travels by value: ``__main__`` and the user's own modules. The standard library and
        installed packages travel by name.

        Raises:
            BoxProgramError: something in it cannot travel (the text names it), or it is larger than *max_mib* MiB.
        """
        parts = {"task": self.task, "messages": self.messages, "events": self.events}
        with own_modules_by_value():
            try:
                packed = bytes(cloudpickle.dumps(parts))
            except Exception as error:
                raise BoxProgramError(
                    f"the program of box {box!r} cannot travel: {self._culprit()}: {error}",
                    note="Open files, locks, sockets and connections cannot leave their process; make them in the box.",
                ) from error
        if len(packed) > max_mib * _MIB:
            raise BoxProgramError(
                f"the program of box {box!r} has {len(packed) / _MIB:.1f} MiB, the limit is {max_mib:g}",
                note="Raise max_program_mib in its BoxLimits, or bring the data as a file.",
            )
        return packed

    def _culprit(self) -> str:
        functions: Sequence[tuple[str, Any]] = [
            ("task", self.task),
            *(("message handler", handler) for handler in self.messages),
            *((f"handler of {name!r}", handler) for name, handler in self.events),
        ]
        for what, function in functions:
            if function is not None and (where := culprit(function)) is not None:
                return f"{what} {getattr(function, '__name__', function)!s}: {where}"
        return "its functions"
