"""Supervision: what is restarted when something dies. The rules are those of OTP's ``supervisor``, as data.

``Supervision`` decides and does nothing; ``SupervisionTree`` carries out what it decides. Three differences from OTP: a
restart waits, longer each time; a branch may give one child up instead of ending altogether; the names of the modes are
``always`` (permanent), ``on_failure`` (transient) and ``never`` (temporary).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from shoal.kernel.agent import RestartPolicy
from shoal.kernel.ports import Clock, Exit

__all__ = [
    "Action",
    "Branch",
    "Child",
    "ChildSpec",
    "Escalate",
    "GiveUp",
    "RestartWindow",
    "Start",
    "Stop",
    "Strategy",
    "Supervision",
    "SupervisionTree",
]

log = logging.getLogger("shoal")


class Strategy(StrEnum):
    """Who is restarted together with the child that died."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


class Child(Protocol):
    """Something that lives until it ends or is stopped; a host's Handle is one, a SupervisionTree another."""

    exited: asyncio.Future[Exit]

    async def stop(self, grace: float) -> None:
        """End it within about *grace* seconds. Never raises."""
        ...


class ChildSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A child: how it is started, when it is restarted, and how many seconds it has to stop."""

    name: str
    start: Callable[[], Awaitable[Child]]
    policy: RestartPolicy = RestartPolicy()
    grace_seconds: float = 5.0


class Branch(msgspec.Struct, frozen=True, kw_only=True):
    """Children in order of start; they are stopped in reverse.

    With ``escalate`` more restarts than ``policy`` allows, of all children together, end the whole branch, and whoever
    supervises the branch decides on it by the same policy. Without it each child's own policy counts, and a child that
    has used it up stays dead while the others go on.
    """

    name: str
    children: tuple[ChildSpec | Branch, ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    policy: RestartPolicy = RestartPolicy()
    escalate: bool = True
    grace_seconds: float = 5.0


# -- decisions ----------------------------------------------------------------------------------------------------


class Stop(msgspec.Struct, frozen=True):
    """Stop these, one after the other."""

    names: tuple[str, ...]


class Start(msgspec.Struct, frozen=True):
    """Start these, one after the other, *delay* seconds from now."""

    names: tuple[str, ...]
    delay: float


class GiveUp(msgspec.Struct, frozen=True):
    """This one stays dead."""

    name: str


class Escalate(msgspec.Struct, frozen=True):
    """The branch ends as failed because of this child; all others were stopped."""

    name: str


Action = Stop | Start | GiveUp | Escalate


class RestartWindow:
    """Counts restarts by OTP's intensity rule: more than ``max_restarts`` within ``window_seconds`` is too many.

    Waits grow with the number of restarts in the window, so a quiet window resets them.
    """

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._times: deque[float] = deque()

    def wanted(self, *, failed: bool) -> bool:
        """Tell whether the mode asks for a restart after such an end."""
        return self._policy.mode == "always" or (self._policy.mode == "on_failure" and failed)

    def next_delay(self, now: float) -> float | None:
        """Count a restart at *now* and return the seconds to wait before it, or None when it would be one too many."""
        while self._times and self._times[0] <= now - self._policy.window_seconds:
            self._times.popleft()
        if len(self._times) >= self._policy.max_restarts:
            return None
        self._times.append(now)
        return self._policy.delay(len(self._times) - 1)


class Supervision:
    """The pure part: what to do when a child of *branch* has ended."""

    def __init__(self, branch: Branch) -> None:
        """Raises ValueError when two children have one name."""
        self._branch = branch
        self._specs = {child.name: child for child in branch.children}
        if len(self._specs) < len(branch.children):
            raise ValueError(f"children of {branch.name!r} must have different names")
        self._windows = {child.name: RestartWindow(child.policy) for child in branch.children}
        self._together = RestartWindow(branch.policy)
        self._alive: set[str] = set()

    def started(self, name: str) -> None:
        """Note that a child lives."""
        self._alive.add(name)

    def stop_all(self) -> Stop:
        """Return how to stop all that live, the last one first."""
        return self._stop([name for name in self._specs if name in self._alive])

    def decide(self, name: str, *, failed: bool, now: float) -> tuple[Action, ...]:
        """Return what to do now that child *name* has ended by itself."""
        self._alive.discard(name)
        window = self._windows[name]
        if not window.wanted(failed=failed):
            return ()
        delay = self._delay(name, now)
        if delay is None:
            return (self.stop_all(), Escalate(name)) if self._branch.escalate else (GiveUp(name),)
        affected = self._affected(name)
        stop = self._stop([other for other in affected if other in self._alive])
        again = tuple(other for other in affected if self._specs[other].policy.mode != "never")
        return (stop, Start(again, delay)) if stop.names else (Start(again, delay),)

    def _delay(self, name: str, now: float) -> float | None:
        """The branch's intensity decides where it escalates; the wait is the child's own."""
        if not self._branch.escalate:
            return self._windows[name].next_delay(now)
        if self._together.next_delay(now) is None:
            return None
        policy = self._specs[name].policy
        own = self._windows[name].next_delay(now)
        return policy.delay(policy.max_restarts) if own is None else own

    def _affected(self, name: str) -> list[str]:
        if self._branch.strategy is Strategy.ONE_FOR_ONE:
            return [name]
        names = list(self._specs)
        return names if self._branch.strategy is Strategy.ONE_FOR_ALL else names[names.index(name) :]

    def _stop(self, names: list[str]) -> Stop:
        self._alive.difference_update(names)
        return Stop(tuple(reversed(names)))


# -- carrying them out --------------------------------------------------------------------------------------------


class SupervisionTree:
    """A branch, alive. ``exited`` ends when it was stopped, or as ``died`` when it gave up."""

    def __init__(self, branch: Branch, clock: Clock, observe: Callable[[str, Action], object] | None = None) -> None:
        """*observe* is called with the branch's name and each action before it is carried out."""
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._branch = branch
        self._clock = clock
        self._observe = observe
        self._core = Supervision(branch)
        self._specs = {child.name: child for child in branch.children}
        self._living: dict[str, Child] = {}
        self._due: dict[str, Start] = {}  # the last decision on each child that waits for its start
        self._work: asyncio.Queue[tuple[str, Child | None, Exit] | Start] = asyncio.Queue()
        self._minder: asyncio.Task[None] | None = None

    async def start(self) -> SupervisionTree:
        """Start all children in order. When one cannot start, those before it are stopped and its error is raised."""
        try:
            for name in self._specs:
                await self._start_child(name)
        except BaseException:
            await self._carry_out(self._core.stop_all())
            raise
        self._minder = asyncio.create_task(self._mind(), name=f"supervision {self._branch.name}")
        return self

    async def stop(self, grace: float = 5.0) -> None:
        """Stop all children, the last one first, each within its own grace."""
        if self._minder is not None and not self._minder.done():
            self._minder.cancel()
            await asyncio.wait([self._minder])
        self._due.clear()
        await self._carry_out(self._core.stop_all())
        self._end(Exit(reason="stopped"))

    async def _mind(self) -> None:
        try:
            while not self.exited.done():
                job = await self._work.get()
                if isinstance(job, Start):
                    await self._start_again(job)
                else:
                    await self._child_ended(*job)
        except Exception as error:
            await self._carry_out(self._core.stop_all())
            self._end(Exit(reason="died", error=error))
            raise

    async def _child_ended(self, name: str, child: Child | None, exit: Exit) -> None:
        if self._living.get(name) is not child:
            return  # stopped by us meanwhile
        self._living.pop(name, None)
        failed = exit.reason != "stopped"
        for action in self._core.decide(name, failed=failed, now=self._clock.monotonic()):
            if isinstance(action, Escalate):
                self._end(Exit(reason="died", exit_code=exit.exit_code, error=exit.error))
            await self._carry_out(action)

    async def _carry_out(self, action: Action) -> None:
        if self._observe is not None:
            self._observe(self._branch.name, action)
        if isinstance(action, Stop):
            for name in action.names:
                self._due.pop(name, None)
                child = self._living.pop(name)
                await child.stop(self._specs[name].grace_seconds)
        elif isinstance(action, Start):
            self._due.update(dict.fromkeys(action.names, action))
            self._clock.call_later(action.delay, lambda: self._work.put_nowait(action))

    async def _start_again(self, start: Start) -> None:
        for name in start.names:
            if self._due.get(name) is start:
                del self._due[name]
                try:
                    await self._start_child(name)
                except Exception as error:  # noqa: BLE001  it counts as a death, which decides what happens next
                    log.warning("%s/%s could not be started again: %s", self._branch.name, name, error)
                    self._work.put_nowait((name, None, Exit(reason="died", error=error)))
                    self._work.put_nowait(start)  # those after it, unless that decision covers them
                    return

    async def _start_child(self, name: str) -> None:
        spec = self._specs[name]
        if isinstance(spec, Branch):
            child: Child = await SupervisionTree(spec, self._clock, self._observe).start()
        else:
            child = await spec.start()
        self._living[name] = child
        self._core.started(name)
        child.exited.add_done_callback(lambda exited: self._heard(name, child, exited))

    def _heard(self, name: str, child: Child, exited: asyncio.Future[Exit]) -> None:
        if not exited.cancelled():
            self._work.put_nowait((name, child, exited.result()))

    def _end(self, exit: Exit) -> None:
        if not self.exited.done():
            self.exited.set_result(exit)
