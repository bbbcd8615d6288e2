"""A living agent in a child, as supervision sees it."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Callable
from typing import Any

from shoal.boxes import wire
from shoal.boxes.calls import Calls
from shoal.boxes.child import ChildProcess
from shoal.boxes.exitcodes import program_code
from shoal.boxes.faults import rebuild_error
from shoal.boxes.guest.frames import blocks
from shoal.boxes.invocations import Invocations
from shoal.boxes.keeping import output_of
from shoal.boxes.limits import Limited
from shoal.boxes.procfs import all_stats, taken_by
from shoal.boxes.settings import HandleSettings
from shoal.boxes.spans import ChildSpans
from shoal.errors import (
    AgentPauseError,
    AgentStartError,
    DeadAgentError,
    ProcessError,
    ProtocolError,
)
from shoal.kernel.ports import Abilities, Exit, Invocation, LaunchSpec, ResourceUsage, RuntimeLink

__all__ = ["ChildHandle"]

_PROGRAM_STREAM = 1
_FROZEN_WITHIN = 1.0


class ChildHandle:
    """One agent in one child. ``exited`` tells how it ended, after its last frames and output."""

    def __init__(
        self,
        spec: LaunchSpec,
        link: RuntimeLink,
        child: ChildProcess,
        settings: HandleSettings,
        limited: Limited | None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._spec = spec
        self._child = child
        self._settings = settings
        self._clock = settings.clock
        self.limited = limited
        self._ready: asyncio.Future[Abilities] = loop.create_future()
        self._invocations = Invocations(child.channel.send, settings.clock)
        self._holds: dict[int, asyncio.Future[wire.Held]] = {}
        self._numbers = itertools.count(1)
        self._calls = Calls(link, child.channel, self._invocations.open, settings)
        self._link = link
        self._spans = ChildSpans(spec.name, link, self._send)
        self._ending = False  # we asked for its end
        self._frozen = False
        self._output = output_of(spec, child.pid, settings.output, settings.clock)
        self.process_id: int | None = child.pid
        self.exited: asyncio.Future[Exit] = loop.create_future()
        self._actions: dict[type, Callable[[Any], None]] = {
            wire.Loaded: lambda record: None,
            wire.Ready: self._became_ready,
            wire.Done: self._invocations.done,
            wire.Call: self._calls.call,
            wire.Uncall: self._calls.uncall,
            wire.Watch: self._calls.watch,
            wire.Metric: self._metric,
            wire.Spans: self._spans.ended,
            wire.Held: self._held,
            wire.Pong: lambda record: None,
        }
        child.owner = self

    @property
    def settled(self) -> asyncio.Future[Abilities]:
        """Ends when it is known whether the agent came up."""
        return self._ready

    def begin(self, assign: wire.Assign, program: bytes) -> None:
        """Send the agent to its child."""
        self._send(assign)
        self._spans.begin()
        for block in blocks(_PROGRAM_STREAM, program):
            self._child.channel.send(block)
        self._send(wire.Program(stream=_PROGRAM_STREAM, size=len(program)))

    def _send(self, record: Any) -> None:
        self._child.channel.send(wire.encode_record(record))

    # -- what the child says

    def on_line(self, stream: str, line: str) -> None:
        """Keep a line of its output, and pass it on."""
        if self._output is not None:
            self._output.line(stream, line)
        self._settings.on_line(stream, line)

    def on_frame(self, kind: int, body: bytes) -> None:
        """Act on a frame. Raises ProtocolError."""
        record = wire.decode_record(kind, body, wire.from_guest)
        if isinstance(record, wire.Block):
            raise ProtocolError("an agent sends no streams")
        self._actions[type(record)](record)

    def _became_ready(self, record: wire.Ready) -> None:
        if self._ready.done():
            raise ProtocolError("ready came twice")
        if record.error is None:
            abilities = Abilities(
                takes_tasks=record.takes_tasks, takes_messages=record.takes_messages, hooks=frozenset(record.hooks)
            )
            self._ready.set_result(abilities)
            return
        what = "could not be constructed" if record.phase == "constructor" else "could not be unpacked in its process"
        cause = rebuild_error(record.error)
        error = AgentStartError(
            f"Agent {self._spec.name!r} {what}: {record.error.type}: {record.error.text}",
            agent_id=self._spec.agent_id,
            name=self._spec.name,
        )
        error.__cause__ = cause
        self._ready.set_exception(error)

    def _metric(self, record: wire.Metric) -> None:
        self._link.metric(record.kind, record.name, record.value)

    def _held(self, record: wire.Held) -> None:
        waiting = self._holds.get(record.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(record)

    def on_exit(self, code: int) -> None:
        """Settle everything that waits for it: it has ended."""
        if self._output is not None:
            self._output.close()
        self._spans.end()
        code = program_code(self._child.level, code)
        error = self.limited.verdict() if self.limited is not None else None
        reason = "limit" if error is not None else "stopped" if self._ending else "died"
        if error is not None:
            error.agent_id, error.name = self._spec.agent_id, self._spec.name
        tail = self._child.stderr.tail
        if self._child.violation is not None:
            tail = f"{tail}{self._child.violation}\n"
        closing = self._calls.close()
        if not self._ready.done():
            text = f"Agent {self._spec.name!r} did not come up: its process ended with exit code {code}"
            self._ready.set_exception(self._process_error(text, code, tail))
        if not self._ready.cancelled():
            self._ready.exception()  # whether anybody still asks for it is theirs to decide
        dead = error or self._dead(reason, code)
        if not self.exited.done():  # first: whoever hears of a call's end knows that there is nobody to call again
            self.exited.set_result(Exit(reason=reason, exit_code=code, stderr_tail=tail, error=error))
        self._invocations.fail(dead)
        for waiting in self._holds.values():
            if not waiting.done():
                waiting.set_exception(dead)
        for call in closing:
            call.add_done_callback(_look_at)

    def _process_error(self, text: str, code: int | None, tail: str) -> ProcessError:
        return ProcessError(text, exit_code=code, stderr_tail=tail, agent_id=self._spec.agent_id, name=self._spec.name)

    def _dead(self, reason: str, code: int) -> DeadAgentError:
        name = self._spec.name
        text = f"Agent {name!r} was stopped" if reason == "stopped" else f"Agent {name!r} died (exit code {code})"
        return DeadAgentError(text, reason=reason, exit_code=code, agent_id=self._spec.agent_id, name=name)

    # -- what supervision asks

    async def ready(self) -> Abilities:
        """Wait until the agent is constructed in its child."""
        try:
            async with self._clock.timeout(self._settings.start_timeout):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            tail = self._child.stderr.tail
            self.kill()
            text = f"Agent {self._spec.name!r} did not come up within {self._settings.start_timeout:g} s"
            raise self._process_error(text, None, tail) from None

    async def invoke(self, invocation: Invocation) -> Any:
        """Run a hook in the child. Raises DeadAgentError when the child ends before it has answered."""
        if self.exited.done():
            end = self.exited.result()
            raise end.error or self._dead(end.reason, end.exit_code or 0)
        return await self._invocations.run(invocation)

    def interrupt(self, invocation_id: str) -> None:
        """Raise in the child's thread that runs the invocation's synchronous code."""
        self._send(wire.Interrupt(id=invocation_id))

    async def hold(self, timeout: float) -> None:
        """Hold all invocations at their next await, within *timeout* seconds. Raises AgentPauseError."""
        number = next(self._numbers)
        waiting: asyncio.Future[wire.Held] = asyncio.get_running_loop().create_future()
        self._holds[number] = waiting
        self._send(wire.Hold(id=number, timeout=timeout))
        held = False
        try:
            async with self._clock.timeout(timeout):
                record = await waiting
            if record.error is not None:
                raise rebuild_error(record.error)
            held = True
        except TimeoutError:
            raise AgentPauseError(
                f"Agent {self._spec.name!r} could not be paused: its process did not answer within {timeout:g} s",
                agent_id=self._spec.agent_id,
                name=self._spec.name,
            ) from None
        finally:
            del self._holds[number]
            if not held:
                self._send(wire.Release())

    async def freeze(self) -> None:
        """Stop the child's processes between two instructions; returns when they stand."""
        self._frozen = True
        if self.limited is not None:
            self.limited.frozen = True
        walls = self._child.walls
        walls.freeze()
        deadline = self._clock.monotonic() + _FROZEN_WITHIN
        # A group that freezes shows its processes as asleep without interruption (D).
        while any(stat.state not in "TtD" for stat in walls.members(all_stats())):
            if self._clock.monotonic() > deadline:
                break  # in a call of the kernel that cannot be interrupted: it stops when it leaves that
            await self._clock.sleep(0.002)

    def release(self) -> None:
        """Let what was held or frozen go on."""
        self._thaw()
        self._send(wire.Release())

    def _thaw(self) -> None:
        if self._frozen:
            self._frozen = False
            if self.limited is not None:
                self.limited.thaw()
            else:
                self._child.walls.thaw()

    async def stop(self, grace: float) -> None:
        """Ask, after half of *grace* send SIGTERM, and again, after all of it SIGKILL; returns when the child is reaped.

        The second SIGTERM is for a child whose loop is held up: it has not read that it is to stop, and takes the first
        one for a wish from outside.
        """
        self._ending = True
        self._thaw()
        self._send(wire.Stop())
        steps: list[tuple[float, Callable[[], object]]] = [
            (grace / 2, lambda: self._child.walls.signal(signal.SIGTERM)),
            (grace / 8, lambda: self._child.walls.signal(signal.SIGTERM)),
            (grace * 3 / 8, self._child.kill),
        ]
        try:
            for seconds, then in steps:
                if not await self._gone_within(seconds):
                    then()
            await asyncio.shield(self.exited)
        finally:
            if not self.exited.done():
                self._child.kill()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            async with self._clock.timeout(seconds):
                await asyncio.shield(self.exited)
        except TimeoutError:
            return False
        return True

    def kill(self) -> None:
        """End the child and its whole process group now."""
        self._ending = True
        self._child.kill()

    def usage(self) -> ResourceUsage | None:
        """Return what all processes of the child take together, None once it has ended."""
        if self.exited.done():
            return None
        taken = taken_by(self._child.walls.members(all_stats()))
        return ResourceUsage(memory_mb=taken.memory_mb, cpu_seconds=taken.cpu_seconds)


def _look_at(call: asyncio.Task[None]) -> None:
    # A call that was cancelled with its child answers to nobody.
    if not call.cancelled():
        call.exception()
