"""Agents of nobody's framework, in virtual time: they say what a function says, and their real calls are counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from shoal.kernel.ambient import current_ambient
from shoal.kernel.ports import Clock
from shoal.kernel.scope import current_scope
from shoal.kernel.starting import present_clock
from shoal.testing.clock import VirtualClock, run_virtual

__all__ = ["AtClock", "Calls", "Said", "Speaker", "virtual"]

T = TypeVar("T")


class AtClock:
    """An ambient that has nothing but a clock: so in-memory runs live in virtual time."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.shared: dict[str, Any] = {}

    def call(self, verb: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Refuse: there is no runtime."""
        raise RuntimeError(f"there is no runtime here to {verb}")


def virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, seed: int = 0, shuffle: bool = False) -> T:
    """Run ``main(clock)`` in virtual time; runs in memory are on that clock, too."""

    async def on_clock(clock: VirtualClock) -> T:
        current_ambient.set(AtClock(clock))
        return await main(clock)

    return run_virtual(on_clock, seed=seed, shuffle=shuffle)


class Calls:
    """The real calls of speakers, with the place of each in its run. ``life`` is which life of the program it is."""

    def __init__(self) -> None:
        self.life = 0
        self.made: list[tuple[int, str, str]] = []  # life, place, message
        self.cancelled: list[str] = []  # the places of those that were cancelled

    def places(self, life: int | None = None) -> list[str]:
        """Return the places of the calls, of one life or of all."""
        return [place for made_in, place, _ in self.made if life in (None, made_in)]

    def messages(self, place: str) -> list[str]:
        """Return what was said to the agent at *place*."""
        return [message for _, at, message in self.made if at == place]

    def __len__(self) -> int:
        return len(self.made)


class Said:
    """An answer with ``content``, and what else it is given (``cost``, ``handoff`` ...)."""

    def __init__(self, content: str, **more: Any) -> None:
        self.content = content
        self.__dict__.update(more)


class Speaker:
    """An agent.

    Args:
        name: its name.
        answer: what it says: a value, an exception to raise, or a function of the message that returns either.
        calls: counts its calls.
        seconds: how long it takes, on the clock of the run.
        cost: USD a call, None: it tells none.
    """

    def __init__(
        self,
        name: str,
        answer: Any = None,
        calls: Calls | None = None,
        *,
        seconds: float = 0.0,
        cost: float | None = None,
    ) -> None:
        self.name = name
        self.calls = Calls() if calls is None else calls
        self._answer = (lambda message: f"{name}({message})") if answer is None else answer
        self._seconds = seconds
        self._cost = cost

    async def chat(self, message: str) -> Any:
        """Answer."""
        scope = current_scope.get()
        place = "" if scope is None else scope.path
        self.calls.made.append((self.calls.life, place, message))
        try:
            await present_clock().sleep(self._seconds)
        except BaseException:
            self.calls.cancelled.append(place)
            raise
        answer = self._answer(message) if callable(self._answer) else self._answer
        if isinstance(answer, BaseException):
            raise answer
        return Said(answer, cost=self._cost) if self._cost is not None and isinstance(answer, str) else answer
