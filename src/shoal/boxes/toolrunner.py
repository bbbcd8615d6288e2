"""Calls in children of their own, which are killed when their time is up: the verb ``run_tool`` of a runtime."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from shoal.boxes.agentguest.calling import call_program
from shoal.boxes.levels import LEVELS
from shoal.boxes.pack import pack
from shoal.errors import ConfigError, ToolError, ToolTimeoutError
from shoal.kernel.env import Env
from shoal.kernel.leasing import lock_name
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Handle, Host, Invocation, LaunchSpec
from shoal.kernel.trace import current_span

__all__ = ["ToolOrder", "ToolRunner"]

RELAYED = ("lease_acquire", "lease_renew", "lease_release")
"""The verbs that code in such a child may use, on behalf of whoever called it: locks."""

Relay = Callable[[str, Mapping[str, Any]], Awaitable[Any]]


class ToolOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is wanted.

    isolation: process, bubblewrap, gvisor, microvm or auto.
    program: a callable without parameters that returns a JSON value, or a coroutine of one; or what ``packed`` made of it.
    name: for error texts.
    timeout: seconds, from when the child is ready.
    at_least: the isolation of whoever calls: the child never has thinner walls.
    limits, box: as those of an agent.
    """

    isolation: str
    program: Any
    name: str
    timeout: float
    at_least: str = "inline"
    limits: ResourceLimit = ResourceLimit()
    box: Any = None


class ToolRunner:
    """Starts a child for each call, by the hosts that start agents.

    Args:
        hosts: by isolation level.
        env: the node that it belongs to.
        relay: carries out the verbs of ``RELAYED`` for the code in a child.
    """

    def __init__(self, hosts: Mapping[str, Host], env: Env, relay: Relay) -> None:
        self._hosts = hosts
        self._env = env
        self._clock = env.clock
        self._link = _Link(relay)

    async def call(self, **order: Any) -> Any:
        """Do what the fields of a ToolOrder say (see ``run``)."""
        return await self.run(ToolOrder(**order))

    async def run(self, order: ToolOrder) -> Any:
        """Make the call and return its value. Whoever cancels it ends the child, too.

        Raises:
            ToolTimeoutError: its time was up; the child has been killed. DeadAgentError: it ended by itself.
            ToolError: the level is none for tools, or thinner than that of the caller.
            ConfigError: the program cannot travel. What a host raises when nothing can be started. What the call raised.
        """
        level = await self._level(order)
        program = base64.b64decode(order.program) if isinstance(order.program, str) else _program(order, level)
        spec = LaunchSpec(
            agent_id=self._clock.new_id(),
            name=f"tool {order.name}",
            source=functools.partial(call_program, program, current_span.get()),
            config={},
            isolation=level,
            node_id=self._env.node_id,
            runtime_id=self._env.runtime_id,
            limits=order.limits,
            box=order.box,
        )
        handle = await self._hosts[level].start(spec, self._link)
        try:
            await handle.ready()
            return await self._in_time(handle, order)
        finally:
            handle.kill()
            await _gone(handle)

    async def _level(self, order: ToolOrder) -> str:
        if order.isolation not in (*LEVELS, "auto"):
            raise ToolError(f"tool {order.name!r} cannot run in {order.isolation!r:.80}", tool=order.name)
        level = await self._hosts[order.isolation].check(call_program, order.box)
        walls = order.at_least
        if walls == "auto":
            walls = await self._hosts[walls].check(call_program, order.box)
        if walls in LEVELS and LEVELS.index(level) < LEVELS.index(walls):
            raise ToolError(
                f"tool {order.name!r} may not run in {level!r}: its agent stands behind stronger walls, {walls!r}",
                tool=order.name,
            )
        return level

    async def _in_time(self, handle: Handle, order: ToolOrder) -> Any:
        invocation = Invocation(invocation_id=self._clock.new_id(), hook="execute_task")
        work = asyncio.get_running_loop().create_task(handle.invoke(invocation), name=f"tool {order.name}")
        try:
            async with self._clock.timeout(order.timeout):
                return await asyncio.shield(work)
        except TimeoutError:
            if work.done():
                return work.result()
            raise ToolTimeoutError(
                f"tool {order.name!r} did not end within {order.timeout:g} s; its process was killed", tool=order.name
            ) from None
        finally:
            if not work.done():
                handle.kill()
                await asyncio.wait([work])
                work.exception()  # that it has died is known


def _program(order: ToolOrder, level: str) -> bytes:
    try:
        return pack(order.program, all_own=level != "process")
    except ConfigError as error:
        raise ToolError(f"tool {order.name!r}: {error}", tool=order.name) from error


async def _gone(handle: Handle) -> None:
    """Wait until a killed child is reaped, also when the caller is cancelled once more."""
    cancelled: asyncio.CancelledError | None = None
    while not handle.exited.done():
        try:
            await asyncio.wait([handle.exited])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


class _Link:
    """What the code in the child may ask of its runtime: nothing but what is relayed."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb for whoever called."""
        if verb not in RELAYED:
            raise RuntimeError(f"a tool in a process of its own cannot use {verb[:80]!r} of the runtime")
        lock_name(args["name"])
        return self._relay(verb, args)

    def is_stopping(self) -> bool:
        """Return False: a call that is to end is killed."""
        return False

    def metric(self, kind: str, name: str, value: float) -> None:
        """Keep nothing: it is no agent."""

    def give_back(self, invocation_id: str | None, taken: AgentMessage | list[AgentMessage]) -> None:
        """Nothing was taken: it has no mail."""
