"""Runners of code over boxes of their own: what ``AgentRuntime.code_runner`` returns."""

from __future__ import annotations

import asyncio
import itertools
import os

from shoal.boxes.box import Box
from shoal.boxes.levels import resolve_level
from shoal.boxes.runtime import BoxRuntime
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.errors import ConfigError
from shoal.kernel.env import Env
from shoal.orchestration.workflow.boxrunner import BoxRunner

__all__ = ["OwnBoxes", "code_runner"]

_SPARE_GUESTS = 1
_STOP_GRACE = 0.1  # seconds: nothing in a box has anything to save


class OwnBoxes:
    """Boxes of a ``BoxRuntime`` that nobody else uses. It opens with the first of them; their time is real time."""

    def __init__(self, isolation: str, network: bool, memory_mib: float) -> None:
        if isolation == "auto":
            isolation = os.environ.get("SHOAL_ISOLATION", "auto")
            if isolation == "process":
                raise ConfigError(
                    "SHOAL_ISOLATION is 'process', which protects nobody from the code of others",
                    note="Say isolation='process' where it is meant, or name a level with walls.",
                )
        self._level = isolation
        spec = BoxSpec(network=network, stop_grace=_STOP_GRACE)
        self._boxes = BoxRuntime(
            isolation, BoxLimits(memory_mib=memory_mib), spec=spec, logs="none", warm=_SPARE_GUESTS
        )
        self._numbers = itertools.count(1)

    async def check(self) -> None:
        """Raise IsolationUnavailableError when none can be made here."""
        await resolve_level(self._level)

    async def create(self) -> Box:
        """Return a fresh one."""
        return await self._boxes.create_box(f"code-{next(self._numbers)}")

    async def discard(self, name: str) -> None:
        """End that one with all that is in it."""
        await self._boxes.remove_box(name)

    async def until_closed(self) -> None:
        """End them all when this is cancelled."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._boxes.shutdown(0.0)


def code_runner(env: Env, isolation: str, network: bool, memory_mib: float) -> BoxRunner:
    """Return a runner whose boxes end with the node of *env*.

    Raises ValueError, ConfigError, BoxSpecError: what was asked for is not possible; RuntimeNotStartedError.
    """
    env.check_running()
    boxes = OwnBoxes(isolation, network, memory_mib)
    env.spawn(boxes.until_closed(), "boxes of a code runner")
    return BoxRunner(boxes)
