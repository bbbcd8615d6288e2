"""Agents on the runtime's own event loop; their synchronous code runs in daemon threads."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from shoal.errors import AgentPauseError, AgentStartError, ConfigError, DeadAgentError
from shoal.kernel.ambient import AgentAmbient, current_ambient
from shoal.kernel.behaviour import Behaviour
from shoal.kernel.context import AgentContext, current_invocation, current_step
from shoal.kernel.gate import Gate, gated
from shoal.kernel.ports import Abilities, Clock, Exit, Handle, Invocation, LaunchSpec, Link, ResourceUsage, RuntimeLink
from shoal.kernel.run import current_teammates
from shoal.kernel.scope import current_scope
from shoal.kernel.threads import DaemonPool, Interrupted
from shoal.kernel.trace import without_span

__all__ = ["InlineHandle", "InlineHost"]


class InlineHost:
    """Starts agents on the running loop."""

    def __init__(self, clock: Clock, pool: DaemonPool) -> None:
        self._clock = clock
        self._pool = pool

    async def check(self, source: Any, box: Any = None) -> str:
        """Take any source: nothing travels. Raises ConfigError for a *box*: there are no walls here."""
        if box is not None:
            raise ConfigError("box= is for agents with isolation='bubblewrap', 'gvisor', 'microvm' or 'auto'")
        return "inline"

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent."""
        return InlineHandle(spec, link, self._clock, self._pool)

    async def close(self) -> None:
        """Nothing is kept besides the handles."""


class InlineHandle:
    """A living agent on this loop."""

    __slots__ = (
        "_ambient",
        "_behaviour",
        "_clock",
        "_context",
        "_gate",
        "_home",
        "_jobs",
        "_may_exit",
        "_pool",
        "_spec",
        "exited",
        "process_id",
    )

    def __init__(
        self, spec: LaunchSpec, link: Link, clock: Clock, pool: DaemonPool, *, own_process: bool = False
    ) -> None:
        self._may_exit = own_process
        self.process_id: int | None = None
        self._spec: LaunchSpec | None = spec  # until it is ready
        self._clock = clock
        self._pool = pool
        self._gate = Gate()
        gated_link = _GatedLink(link, self._gate)
        self._context = AgentContext(
            gated_link,
            agent_id=spec.agent_id,
            name=spec.name,
            runtime_id=spec.runtime_id,
            node_id=spec.node_id,
        )
        self._behaviour: Behaviour | None = None
        self._ambient = AgentAmbient(clock, gated_link, self._in_thread)
        self._home = without_span()  # of each message: many are handled in one asyncio task
        self._home.run(current_ambient.set, self._ambient)
        self._jobs: dict[str, Callable[[], Any]] = {}
        self.exited: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    async def ready(self) -> Abilities:
        """Construct the agent. Raises AgentStartError with the constructor's error chained."""
        if self._spec is not None:
            self._behaviour = self._construct(self._spec)
            self._spec = None
        assert self._behaviour is not None
        return self._behaviour.abilities

    def _construct(self, spec: LaunchSpec) -> Behaviour:
        try:
            return Behaviour(spec.source, spec.config, self._context, self._in_thread)
        except Exception as error:
            text = f"Agent {spec.name!r} could not be constructed: {type(error).__name__}: {error}"
            raise AgentStartError(text, agent_id=spec.agent_id, name=spec.name) from error

    async def invoke(self, invocation: Invocation) -> Any:
        """Run a hook; tasks and messages at the pace of the gate."""
        assert self._behaviour is not None, "ready() comes first"
        hook = invocation.hook
        if hook == "on_message":
            context = self._home.copy()
        else:
            context = contextvars.copy_context()
            context.run(current_ambient.set, self._ambient)
        context.run(_enter, invocation)
        if hook in ("on_message", "execute_task"):
            work, gate = self._behaviour.invoke(hook, invocation.argument), self._gate
        else:
            work, gate = self._behaviour.invoke(hook, *_arguments(invocation)), None  # it runs while those are held
        try:
            result = await gated(work, gate, context, may_exit=self._may_exit)
        except BaseException as error:
            if self._ambient.runs:
                await self._ambient.over(invocation.invocation_id, error)
            raise
        if self._ambient.runs:
            await self._ambient.over(invocation.invocation_id, None)
        return result

    async def _in_thread(self, fn: Callable[..., Any], *args: Any) -> Any:
        invocation = current_invocation.get()
        key = invocation.invocation_id if invocation is not None else ""
        job = functools.partial(contextvars.copy_context().run, fn, *args)
        running = asyncio.get_running_loop().run_in_executor(self._pool, job)
        self._jobs[key] = job
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])  # a thread cannot be cancelled; interrupt() ends it
            if not running.cancelled():
                running.exception()  # looked at: the cancellation is what counts
            raise
        except Interrupted:
            name = self._context.name
            raise DeadAgentError(f"Agent {name!r} was ended while it ran", reason="stopped", name=name) from None
        finally:
            self._jobs.pop(key, None)

    def interrupt(self, invocation_id: str) -> None:
        """Raise in the thread that runs the invocation's synchronous code."""
        job = self._jobs.get(invocation_id)
        if job is not None:
            self._pool.interrupt(job)

    async def hold(self, timeout: float) -> None:
        """Close the gate: coroutines stand at once, threads at their next call of the context."""
        self._gate.close()
        deadline = self._clock.monotonic() + timeout
        while self._gate.held_threads < len(self._jobs):
            if self._clock.monotonic() >= deadline:
                self._gate.open()
                raise AgentPauseError(
                    f"Agent {self._context.name!r} could not be paused: its synchronous code made no call of its context "
                    f"within {timeout:g} s",
                    agent_id=self._context.agent_id,
                    name=self._context.name,
                )
            await self._clock.sleep(0.01)

    async def freeze(self) -> None:
        """Raise AgentPauseError: there is no process of its own to freeze."""
        raise AgentPauseError(
            f"Agent {self._context.name!r} runs inside the runtime and cannot be frozen",
            agent_id=self._context.agent_id,
        )

    def release(self) -> None:
        """Open the gate."""
        self._gate.open()

    async def stop(self, grace: float) -> None:
        """End it: nothing of it is left but its object."""
        self.kill()

    def kill(self) -> None:
        """Abandon what runs in it."""
        self._gate.open()
        for job in list(self._jobs.values()):
            self._pool.abandon(job)
        if not self.exited.done():
            self.exited.set_result(Exit(reason="stopped"))

    def usage(self) -> ResourceUsage | None:
        """Return None: it has no process of its own."""
        return None


def _enter(invocation: Invocation) -> None:
    """Make this the context of *invocation*: whoever has asked for it, the run and the step that he is in are his own."""
    current_invocation.set(invocation)
    current_scope.set(None)
    current_step.set(None)
    current_teammates.set(None)


class _GatedLink:
    """The runtime's link, where a thread of the agent waits while the agent is held."""

    __slots__ = ("_gate", "_link")

    def __init__(self, link: Link, gate: Gate) -> None:
        self._link = link
        self._gate = gate

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        return self._link.call(verb, invocation_id, args)

    def metric(self, kind: str, name: str, value: float) -> None:
        self._link.metric(kind, name, value)

    def is_stopping(self) -> bool:
        if self._gate.closed and not _on_a_loop():
            self._gate.pass_blocking()
        return self._link.is_stopping()


def _on_a_loop() -> bool:
    return asyncio._get_running_loop() is not None


def _arguments(invocation: Invocation) -> tuple[Any, ...]:
    """``on_error`` gets (error, task), most hooks their one argument, and three none."""
    if invocation.hook in ("on_start", "on_stop", "on_pause"):
        return ()
    return (invocation.argument, invocation.task) if invocation.hook == "on_error" else (invocation.argument,)
