"""A node that is cut off from its store: its heartbeats do not get there, or answers come to it late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from shoal import AgentRuntime, StoreError
from shoal.kernel.env import Env
from tests.support.runtimes import until

__all__ = ["Cut", "HeldBack", "env_of"]


def env_of(runtime: AgentRuntime) -> Env:
    """Return the surroundings of a runtime that is started."""
    assert runtime._env is not None
    return runtime._env


class Cut:
    """Keeps the heartbeats of a node from the store."""

    def __init__(self, runtime: AgentRuntime) -> None:
        self.env = env_of(runtime)
        self.answer: bool | None = None
        setattr(self.env.store.leases, "heartbeat", self._beat)  # noqa: B010 - a method, for once

    def _beat(self, *args: object, **given: object) -> bool:
        if self.answer is None:
            raise StoreError("the store cannot be reached")
        return self.answer

    async def until_over(self) -> None:
        """Wait until the lease of the node has ended."""
        await until(self.env.lease_over)

    def heal(self) -> None:
        """Let the next one through."""
        delattr(self.env.store.leases, "heartbeat")


class HeldBack:
    """Keeps the answer of the first call of a verb of the store back. What it asks for is done.

    Args:
        noun: of the store.
        verb: its name.
        which: tells by what the verb is given whether it is this call.
    """

    def __init__(self, noun: Any, verb: str, which: Callable[..., bool] = lambda *args: True) -> None:
        self.done = asyncio.Event()
        self.free = asyncio.Event()
        self._noun = noun
        self._name = verb
        self._verb = getattr(noun, verb)
        self._which = which
        setattr(noun, verb, self._call)

    def _call(self, *args: Any, **given: Any) -> Awaitable[Any]:
        if not self._which(*args):
            return self._verb(*args, **given)  # type: ignore[no-any-return]
        delattr(self._noun, self._name)
        return self._answer(self._verb(*args, **given))

    async def _answer(self, working: Awaitable[Any]) -> Any:
        answer = await working
        self.done.set()
        await self.free.wait()
        return answer
