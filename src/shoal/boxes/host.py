"""Agents in processes of their own: the Host of the kernel for levels that start children."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.handle import ChildHandle
from shoal.boxes.launch import Launcher, LaunchOrder
from shoal.boxes.limits import LimitKeeper, LimitWarning
from shoal.boxes.output import relay
from shoal.boxes.pack import pack
from shoal.boxes.process import ProcessLauncher
from shoal.boxes.settings import HandleSettings
from shoal.boxes.spares import Spares
from shoal.boxes.state import new_box_id, state_directory
from shoal.errors import BoxError, ProcessError
from shoal.kernel.ports import Clock, Handle, LaunchSpec, Link

__all__ = ["HostCallbacks", "ProcessHost", "StartedChild"]

_MIB = 1 << 20
_AGENT_GUEST = "shoal.boxes.agentguest.serve"


class StartedChild(msgspec.Struct, frozen=True, kw_only=True):
    """A child to remember: ``kill_orphan(pid, pid_started)`` ends it later. Spares have no agent yet."""

    pid: int
    pid_started: int
    agent_id: str | None = None


def _nothing(_: object) -> None:
    return None


class HostCallbacks(msgspec.Struct, frozen=True, kw_only=True):
    """What a host tells, on the loop.

    ``adopted``: a child was started; again when it gets its agent. ``disowned``: a child was reaped.
    ``warning``: an agent took 80 % of a limit. ``line(stream, text)``: a line that a child printed.
    """

    adopted: Callable[[StartedChild], object] = _nothing
    disowned: Callable[[StartedChild], object] = _nothing
    warning: Callable[[LimitWarning], object] = _nothing
    line: Callable[[str, str], None] = relay


class ProcessHost:
    """Starts agents in child processes, one each. What a launcher starts makes the level; all else is the same."""

    def __init__(
        self,
        clock: Clock,
        *,
        callbacks: HostCallbacks | None = None,
        launcher: Launcher | None = None,
        warm_processes: int = 1,
        max_message_mb: float = 10,
        start_timeout: float = 30.0,
    ) -> None:
        """Nothing is started before the first agent.

        Args:
            clock: time and timers.
            callbacks: who hears of children, warnings and output.
            launcher: how a child is started; default: a plain process.
            warm_processes: how many spare children to keep from the first agent on.
            max_message_mb: the largest message either way, in MB.
            start_timeout: seconds that an agent has to be ready.
        """
        self._clock = clock
        self._callbacks = callbacks or HostCallbacks()
        self._launcher: Launcher = launcher or ProcessLauncher()
        self._keeper = LimitKeeper(clock)
        self._spares = Spares(warm_processes, self._spawn, clock)
        # At most 2 x cores come up at once: more would only slow each other down.
        self._places = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._closed = False
        self._settings = HandleSettings(
            clock=clock,
            on_line=self._callbacks.line,
            max_message=int(max_message_mb * _MIB),
            start_timeout=start_timeout,
        )

    def check(self, source: Any) -> None:
        """Raise ConfigError when *source* cannot travel to a process."""
        pack(source)

    async def start(self, spec: LaunchSpec, link: Link) -> Handle:
        """Begin to start an agent. Raises ConfigError (its source cannot travel), ProcessError (nothing starts)."""
        program = pack(spec.source)
        await self._places.acquire()
        try:
            child = self._take(spec)
        except BaseException:
            self._places.release()
            raise
        # No await from here on: whoever is cancelled has either no child, or a handle that owns it.
        limited = None
        if spec.limits.needs_process():
            limited = self._keeper.hold(child.pid, spec.limits, child.reaper.signal, self._warner(spec))
        handle = ChildHandle(spec, link, child, self._settings, limited)
        handle.settled.add_done_callback(lambda _: self._places.release())
        handle.exited.add_done_callback(lambda _: self._gone(handle))
        handle.begin(self._assign(spec), program)
        return handle

    def _take(self, spec: LaunchSpec) -> ChildProcess:
        if self._closed:
            raise ProcessError(f"Agent {spec.name!r} cannot start: its host is closed", agent_id=spec.agent_id)
        try:
            child = self._spares.take()
        except BoxError as error:
            raise ProcessError(str(error), agent_id=spec.agent_id, name=spec.name) from error
        self._callbacks.adopted(_started(child, spec.agent_id))
        return child

    def _spawn(self) -> ChildProcess:
        box_id = new_box_id()
        walls = self._launcher.build(LaunchOrder(box_id=box_id, directory=state_directory(box_id)))
        child = ChildProcess(walls, self._launcher.level, self._settings.max_message + wire.ROOM, self._clock)
        self._callbacks.adopted(_started(child))
        child.reaped.add_done_callback(lambda _: self._callbacks.disowned(_started(child)))
        child.channel.send(wire.encode_record(wire.Preload(path=_import_path(), load=(_AGENT_GUEST,))))
        return child

    def _assign(self, spec: LaunchSpec) -> wire.Assign:
        return wire.Assign(
            agent_id=spec.agent_id,
            name=spec.name,
            runtime_id=spec.runtime_id,
            node_id=spec.node_id,
            config=spec.config,
            path=_import_path(),
            env={name: value for name, value in os.environ.items() if _encodable(name + value)},
            max_message=self._settings.max_message,
            in_flight=self._settings.in_flight,
            cwd=_directory(),
        )

    def _warner(self, spec: LaunchSpec) -> Callable[[str, float, float], None]:
        def warn(resource_type: str, current: float, limit: float) -> None:
            self._callbacks.warning(
                LimitWarning(agent_id=spec.agent_id, resource_type=resource_type, current=current, limit=limit)
            )

        return warn

    def _gone(self, handle: ChildHandle) -> None:
        if handle.limited is not None:
            self._keeper.let_go(handle.limited)

    async def close(self) -> None:
        """End the spare children and wait until they are reaped. Handles are for their owners to stop first."""
        self._closed = True
        spares = self._spares.close()
        for child in spares:
            child.kill()
        if spares:
            await asyncio.wait([child.reaped for child in spares])
        self._keeper.close()


def _started(child: ChildProcess, agent_id: str | None = None) -> StartedChild:
    return StartedChild(pid=child.pid, pid_started=child.pid_started, agent_id=agent_id)


def _import_path() -> tuple[str, ...]:
    """Return where the child finds what this process finds, Shoal itself in any case."""
    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str) and _encodable(entry)]
    return tuple(dict.fromkeys([*path, str(Path(__file__).parents[2])]))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None
