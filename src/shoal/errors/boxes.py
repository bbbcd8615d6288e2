"""Errors of boxes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from shoal.errors.agents import AgentError, AgentNotFoundError, DeadAgentError
from shoal.errors.root import ShoalError, nearest

__all__ = [
    "BoxError",
    "BoxExistsError",
    "BoxNotFoundError",
    "BoxNotRunningError",
    "BoxProgramError",
    "BoxSpecError",
    "BoxStartError",
    "BoxStateError",
    "BoxStoppedError",
    "BoxWaitTimeoutError",
    "LimitUnavailableError",
    "NotAllowedError",
    "ProtocolError",
    "PythonMismatchError",
    "SelfSendError",
]


class BoxError(ShoalError, RuntimeError):
    """Something about one box."""


class ProtocolError(BoxError):
    """What came over the wire is not a frame of the protocol."""


class BoxStartError(BoxError):
    """A box did not come up. ``phase``: probe, spec, launch, hello or assign."""

    def __init__(
        self, text: str, *, level: str = "", phase: str = "", exit_code: int | None = None, stderr_tail: str = ""
    ) -> None:
        self.level = level
        self.phase = phase
        self.exit_code = exit_code
        self.stderr_tail = stderr_tail
        super().__init__(text, note=f"Its last output on stderr:\n{stderr_tail}" if stderr_tail else None)


class BoxExistsError(BoxError, ValueError):
    """The runtime has a box of that name."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Box {name!r} exists", note="Choose another name, or `await runtime.remove_box(name)` first.")


class BoxNotFoundError(AgentNotFoundError):
    """The runtime has no box of that name."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        AgentError.__init__(self, f"Box {name!r} not found{nearest(name, known)}", name=name)


class BoxNotRunningError(DeadAgentError):
    """No program runs in the box."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Box {name!r} not running", name=name)


class BoxStoppedError(DeadAgentError):
    """The box was stopped before it answered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Box {name!r} stopped before it answered", reason="stopped", name=name)


class BoxProgramError(BoxError):
    """Something in the program cannot travel into a box; the text names it."""


class BoxSpecError(BoxError, ValueError):
    """What a box was asked to be is not possible. ``faults`` holds every fault at once."""

    def __init__(self, faults: str | Sequence[str], *, note: str | None = None) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("; ".join(self.faults), note=note)


class BoxStateError(BoxError):
    """Not possible in the box's present state."""


class BoxWaitTimeoutError(BoxError, TimeoutError):
    """The boxes did not end in time. ``codes`` maps the name of each that was waited for to its exit code, or None."""

    def __new__(cls, *_: object) -> BoxWaitTimeoutError:
        """RuntimeError comes first in the order of its bases, and cannot make what is a TimeoutError, too."""
        return OSError.__new__(cls)

    def __init__(self, text: str, codes: Mapping[str, int | None]) -> None:
        self.codes: dict[str, int | None] = dict(codes)
        super().__init__(text)


class LimitUnavailableError(BoxError):
    """A limit that was asked for cannot be held on this machine."""


class NotAllowedError(BoxError):
    """The policy lets one box not talk to the other; it does not tell whether that exists."""

    def __init__(self, sender: str, target: str) -> None:
        self.sender = sender
        self.target = target
        super().__init__(f"Box {sender!r} may not talk to {target!r}")


class PythonMismatchError(BoxError):
    """The interpreter in the box has another minor version, so a program cannot travel by value."""

    def __init__(self, host: str, box: str) -> None:
        self.host = host
        self.box = box
        super().__init__(
            f"Python {box} in the box, {host} here: a program packed by one cannot be unpacked by the other",
            note="`run_script` and `exec` work with any version.",
        )


class SelfSendError(BoxError):
    """A box cannot ask itself."""

    def __init__(self) -> None:
        super().__init__("Cannot send to self")
