"""Agents in processes of their own: the Host of the kernel for levels that start children."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.handle import ChildHandle
from shoal.boxes.launch import BOX_PATH, Launcher
from shoal.boxes.levels import import_path, launcher_for, resolve_level
from shoal.boxes.limits import LimitKeeper, LimitWarning
from shoal.boxes.logs import visible
from shoal.boxes.output import relay
from shoal.boxes.pack import pack
from shoal.boxes.process import ProcessLauncher
from shoal.boxes.settings import HandleSettings
from shoal.boxes.spares import Spares
from shoal.boxes.spawning import Spawner
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.speccheck import check_spec
from shoal.errors import BoxError, BoxSpecError, ProcessError
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.ports import Clock, Handle, Host, LaunchSpec, RuntimeLink

__all__ = ["AutoHost", "ChildHost", "HostCallbacks", "StartedChild"]

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
    ``warning``: an agent took 80 % of a limit. ``line(stream, text)``: a line that a child printed; its control characters
    are made visible where there are walls. ``output``: the folder in which such lines are kept as well, by agent.
    """

    adopted: Callable[[StartedChild], object] = _nothing
    disowned: Callable[[StartedChild], object] = _nothing
    warning: Callable[[LimitWarning], object] = _nothing
    line: Callable[[str, str], None] = relay
    output: Path | None = None


class ChildHost:
    """Starts agents in child processes, one each. What a launcher starts makes the level; all else is the same."""

    def __init__(
        self,
        clock: Clock,
        level: str = "process",
        *,
        callbacks: HostCallbacks | None = None,
        warm_processes: int = 1,
        max_message_mb: float = 10,
        start_timeout: float = 30.0,
    ) -> None:
        """Nothing is started before the first agent.

        Args:
            clock: time and timers.
            level: process, bubblewrap, gvisor or microvm.
            callbacks: who hears of children, warnings and output.
            warm_processes: how many spare children to keep for each kind of child in use, from its first on.
            max_message_mb: the largest message either way, in MB.
            start_timeout: seconds that an agent has to be ready.
        """
        self._clock = clock
        self._level = level
        self._callbacks = callbacks or HostCallbacks()
        self._keeper = LimitKeeper(clock)
        self._warm = warm_processes
        self._spawner = Spawner(clock)
        self._spares: dict[bytes, Spares] = {}
        # At most 2 x cores come up at once: more would only slow each other down.
        self._places = asyncio.Semaphore(2 * (os.cpu_count() or 1))
        self._closed = False
        self._max_message_mb = max_message_mb
        self._settings = HandleSettings(
            clock=clock,
            on_line=self._line,
            max_message=int(max_message_mb * _MIB),
            start_timeout=start_timeout,
            output=self._callbacks.output,
        )

    def _line(self, stream: str, text: str) -> None:
        self._callbacks.line(stream, text if self._level == "process" else visible(text))

    async def check(self, source: Any, box: Any = None) -> str:
        """Return its level, when *source* can travel to it and *box* (a BoxSpec or None) is possible here.

        Raises ConfigError, BoxSpecError, IsolationUnavailableError.
        """
        self._pack(source)
        if self._level == "process":
            if box is not None:
                raise BoxSpecError("a box needs walls: an agent with isolation='process' has only its limits")
            return self._level
        await resolve_level(self._level)
        await self._launcher.prepare(check_spec(box if box is not None else BoxSpec()))
        return self._level

    @functools.cached_property
    def _launcher(self) -> Launcher:
        # Loaded when it is first needed: most runtimes use one level or two.
        return ProcessLauncher() if self._level == "process" else launcher_for(self._level)

    def _pack(self, source: Any) -> bytes:
        # A process finds the user's own modules where the runtime does; a box of walls has to be given them.
        return pack(source, all_own=self._level != "process")

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent. Raises ConfigError (its source cannot travel), ProcessError (nothing starts)."""
        program = self._pack(spec.source)
        box = spec.box if spec.box is not None else BoxSpec()
        if self._level != "process":
            await self._launcher.prepare(box)
        limits, whole = self._limits(spec.limits, box)
        await self._places.acquire()
        try:
            child = self._take(spec, box, limits)
        except BaseException:
            self._places.release()
            raise
        # No await from here on: whoever is cancelled has either no child, or a handle that owns it.
        limited = None
        if whole.needs_process():
            limited = self._keeper.hold(child.walls, whole, self._warner(spec))
        handle = ChildHandle(spec, link, child, self._settings, limited)
        handle.settled.add_done_callback(lambda _: self._places.release())
        handle.exited.add_done_callback(lambda _: self._gone(handle))
        handle.begin(self._assign(spec, box), program)
        return handle

    def _limits(self, given: ResourceLimit, box: BoxSpec) -> tuple[BoxLimits, ResourceLimit]:
        """Return what its walls hold and what is watched; at level process only what was asked for."""
        limits = box.limits or BoxLimits()
        memory, percent = given.max_memory_per_agent_mb, given.max_cpu_percent_per_agent
        limits = msgspec.structs.replace(
            limits,
            memory_mib=limits.memory_mib if memory is None else memory,
            cpus=limits.cpus if percent is None else percent / 100,
            max_message_mb=self._max_message_mb,
        )
        if self._level == "process":
            return limits, given
        return limits, msgspec.structs.replace(
            given,
            max_memory_per_agent_mb=limits.memory_mib,
            max_cpu_percent_per_agent=None if limits.cpus is None else limits.cpus * 100,
        )

    def _take(self, spec: LaunchSpec, box: BoxSpec, limits: BoxLimits) -> ChildProcess:
        if self._closed:
            raise ProcessError(f"Agent {spec.name!r} cannot start: its host is closed", agent_id=spec.agent_id)
        # Limits that no walls hold make no other kind of child at level process.
        key = b"" if self._level == "process" else msgspec.json.encode([box, limits], enc_hook=str)
        if key not in self._spares:
            self._spares[key] = Spares(self._warm, lambda: self._spawn(box, limits), self._clock)
        try:
            child = self._spares[key].take()
        except BoxError as error:
            raise ProcessError(str(error), agent_id=spec.agent_id, name=spec.name) from error
        self._callbacks.adopted(_started(child, spec.agent_id))
        return child

    def _spawn(self, box: BoxSpec, limits: BoxLimits) -> ChildProcess:
        preload = wire.Preload(path=self._import_path(box), load=(_AGENT_GUEST,))
        child = self._spawner.spawn(self._launcher, box, limits, preload)
        self._callbacks.adopted(_started(child))
        child.reaped.add_done_callback(lambda _: self._callbacks.disowned(_started(child)))
        return child

    def _import_path(self, box: BoxSpec) -> tuple[str, ...]:
        return _own_path() if self._level == "process" else import_path(self._level, box)

    def _assign(self, spec: LaunchSpec, box: BoxSpec) -> wire.Assign:
        walled = self._level != "process"
        env = {"PATH": BOX_PATH, "HOME": "/work", "LANG": "C.UTF-8", **box.env} if walled else dict(os.environ)
        return wire.Assign(
            agent_id=spec.agent_id,
            name=spec.name,
            runtime_id=spec.runtime_id,
            node_id=spec.node_id,
            config=spec.config,
            path=self._import_path(box),
            env={name: value for name, value in env.items() if _encodable(name + value)},
            max_message=self._settings.max_message,
            in_flight=self._settings.in_flight,
            cwd=box.cwd if walled else _directory(),
            title=spec.title,
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
        for spares in self._spares.values():
            for child in spares.close():
                child.kill()
        await self._spawner.close()
        self._keeper.close()


class AutoHost:
    """The strongest walls that really stand on this machine; never level process."""

    def __init__(self, hosts: Mapping[str, Host]) -> None:
        """Choose among *hosts*, by level."""
        self._hosts = hosts

    async def check(self, source: Any, box: Any = None) -> str:
        """Return the level that was chosen. Raises as that one's host, and IsolationUnavailableError when no walls stand."""
        return await self._hosts[await resolve_level("auto")].check(source, box)

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent there."""
        return await self._hosts[await resolve_level("auto")].start(spec, link)

    async def close(self) -> None:
        """Nothing is kept here."""


def _started(child: ChildProcess, agent_id: str | None = None) -> StartedChild:
    return StartedChild(pid=child.pid, pid_started=child.pid_started, agent_id=agent_id)


def _own_path() -> tuple[str, ...]:
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
