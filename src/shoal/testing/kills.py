"""Ending this process, as ``kill -9`` does, at a step of a run."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from shoal.kernel.liverun import LiveRun
from shoal.kernel.run import RunStep
from shoal.kernel.scope import Scope, StepOrder, Ticket

__all__ = ["kill_at", "kill_at_nth"]

When = Literal["before", "called", "recorded"]

_MOMENTS = ("before", "called", "recorded")


def kill_at(step_key: str, when: When) -> None:
    """Kill this process at a step that is not recorded yet.

    Args:
        step_key: the key of the step, such as ``1:Writer/model1``.
        when: ``before`` it is done, when it was ``called`` and is not recorded, or when it is ``recorded``.
    """
    _arm(lambda key, _: key == step_key, when)


def kill_at_nth(number: int, when: When) -> None:
    """Kill this process at the *number*-th step (from 1) that is really done, whichever it is; see ``kill_at``."""
    _arm(lambda _, done: done == number, when)


def _arm(strikes: Callable[[str, int], bool], when: When) -> None:
    if when not in _MOMENTS:
        raise ValueError(f"when must be one of {', '.join(_MOMENTS)}, not {when!r:.80}")
    plain_step = LiveRun.step
    done = 0

    async def step(self: LiveRun, scope: Scope, order: StepOrder, do: Callable[[Ticket], Awaitable[Any]]) -> RunStep:
        nonlocal done
        known = self.recorded.get(scope.key(order.segment))
        if known is not None and known.finished_at is not None:
            return await plain_step(self, scope, order, do)
        done += 1
        struck = strikes(scope.key(order.segment), done)
        if struck and when == "before":
            _die()

        async def called(ticket: Ticket) -> Any:
            output = await do(ticket)
            if struck and when == "called":
                _die()
            return output

        recorded = await plain_step(self, scope, order, called)
        if struck and when == "recorded":
            _die()
        return recorded

    LiveRun.step = step  # type: ignore[method-assign]  # a fault of the whole process, which it ends


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()
