"""The life of cells: how an agent comes to life, is held, goes on, ends, dies and is started again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shoal.errors import (
    AgentError,
    AgentPauseError,
    AgentStartError,
    AgentStateError,
    LeaseLostError,
    PayloadError,
    ProcessError,
    StoreError,
)
from shoal.kernel.agent import AgentInstance, AgentStatus, AgentVerb
from shoal.kernel.attempt import Ending
from shoal.kernel.cell import Cell
from shoal.kernel.event import EventType, Fact
from shoal.kernel.failure import Failure
from shoal.kernel.launches import LaunchGate
from shoal.kernel.link import CellLink
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.kernel.ports import AgentChange, Exit, Handle, Host, LaunchSpec
from shoal.kernel.registration import Registration
from shoal.kernel.supervision import RestartWindow

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.post import Post
    from shoal.kernel.scheduler import Scheduler

__all__ = ["Cells"]

READY_SECONDS = 30.0
STOP_HOOK_SECONDS = 5.0


class Cells:
    """Brings registered agents to life on this node and ends them; each step is one transaction with its event."""

    def __init__(
        self,
        env: Env,
        post: Post,
        scheduler: Scheduler,
        hosts: Mapping[str, Host],
        link: Callable[[], CellLink],
        gate: LaunchGate,
    ) -> None:
        self._env = env
        self._post = post
        self.scheduler = scheduler
        self.hosts = hosts
        self._link = link
        self.gate = gate
        self._filling = asyncio.Lock()
        self._starting = 0
        self._due: set[str] = set()  # failed, and to be restarted soon: their places are kept
        self._queued: list[Registration] = []  # in the order in which they asked
        self._alive: list[Registration] = []  # in the order in which they came to life
        self._windows: dict[str, RestartWindow] = {}
        self._restarts: dict[str, asyncio.Task[Any]] = {}

    # -- coming to life

    async def launch(self, registration: Registration) -> None:
        """Construct a starting agent, run its hooks, and let it take part.

        Raises:
            AgentStartError: its constructor, on_start or on_resume raised; the cause is chained.
            ProcessError: its process did not come up.
        """
        self._starting += 1
        try:
            await self._launch(registration)
        finally:
            self._starting -= 1

    async def _launch(self, registration: Registration) -> None:
        registration.generation += 1
        link = self._link()
        handle: Handle | None = None
        cell: Cell | None = None
        try:
            handle = await self.hosts[registration.options.isolation].start(self._spec(registration), link)
            async with self._env.clock.timeout(READY_SECONDS):
                abilities = await handle.ready()
            cell = Cell(self._post, registration, handle, abilities)
            cell.on_abandon = lambda: self._rebuild(registration)
            cell.on_errors = lambda: self._too_many_errors(registration)
            link.cell = cell
            self._post.add(cell)
            await self._hook(cell, "on_start")
            state = self._env.store.agents.saved_state(registration.agent_id)
            if state is not None:
                await self._hook(cell, "on_resume", state)
            started = await self._advance(registration, AgentVerb.STARTED, process_id=handle.process_id)
        except (Exception, asyncio.CancelledError) as error:
            raise await self._start_failed(registration, handle, cell, error) from error
        registration.instance = started
        registration.cell = cell
        self._alive.append(registration)
        cell.open()
        self.scheduler.add(cell)
        handle.exited.add_done_callback(lambda _: self._env.spawn(self._gone(cell), f"end of {cell.name}"))

    def _spec(self, registration: Registration) -> LaunchSpec:
        options = registration.options
        return LaunchSpec(
            agent_id=registration.agent_id,
            name=registration.name,
            source=registration.source,
            config=registration.config,
            isolation=options.isolation,
            node_id=self._env.node_id,
            runtime_id=self._env.runtime_id,
            limits=options.limits,
            max_concurrent_tasks=options.max_concurrent_tasks,
            hook_timeout_seconds=self._env.settings.hook_timeout_seconds,
            box=options.box,
        )

    async def _start_failed(
        self, registration: Registration, handle: Handle | None, cell: Cell | None, error: BaseException
    ) -> BaseException:
        if cell is not None:
            cell.closing = True
            await self._quiet_hook(cell, "on_stop", STOP_HOOK_SECONDS)
            cell.dead = True
            self._post.remove(cell, self._post.dead(cell))
        if handle is not None:
            await handle.stop(1.0)
        text = f"{type(error).__name__}: {error}"[:1000]
        registration.instance = await self._advance(registration, AgentVerb.START_FAILED, error_message=text)
        if isinstance(error, (AgentStartError, ProcessError, StoreError, asyncio.CancelledError)):
            return error
        if isinstance(error, AgentError) and handle is not None and handle.exited.done():
            exit = handle.exited.result()
            return ProcessError(
                f"Agent {registration.name!r} died while it started: {error}",
                exit_code=exit.exit_code,
                stderr_tail=exit.stderr_tail,
                agent_id=registration.agent_id,
                name=registration.name,
            )
        what = "did not come up in time" if isinstance(error, TimeoutError) else f"failed to start: {text}"
        if isinstance(error, TimeoutError) and cell is None and registration.options.isolation == "process":
            return ProcessError(f"Agent {registration.name!r} {what}", agent_id=registration.agent_id)
        return AgentStartError(
            f"Agent {registration.name!r} {what}", agent_id=registration.agent_id, name=registration.name
        )

    async def _advance(self, registration: Registration, verb: AgentVerb, **fields: Any) -> AgentInstance:
        change = AgentChange(agent_id=registration.agent_id, verb=verb, node_id=self._env.node_id, **fields)
        return await self._env.store.agents.advance(change, now=self._env.clock.now())

    # -- hooks

    async def _hook(self, cell: Cell, hook: str, argument: Any = None, seconds: float | None = None) -> Any:
        """Run a hook; what it raises is noted and raised."""
        if hook not in cell.abilities.hooks:
            return None
        entry = cell.enter(hook, argument)
        try:
            async with self._env.clock.timeout(seconds or self._env.settings.hook_timeout_seconds):
                return await cell.handle.invoke(entry.invocation)
        except Exception as error:
            self._post.hook_failed(cell, hook, Failure.of(error))
            raise
        finally:
            cell.leave(entry)

    async def _quiet_hook(self, cell: Cell, hook: str, seconds: float) -> None:
        try:
            await self._hook(cell, hook, seconds=seconds)
        except Exception:  # noqa: BLE001  noted as agent_hook_failed; it must not keep the agent from ending
            return

    # -- held, and going on

    async def pause(self, registration: Registration, timeout: float) -> None:
        """Hold a running agent, then bring state, mail and status to the disk."""
        cell = registration.cell
        assert cell is not None
        self.scheduler.remove(cell)
        state: dict[str, object] | None = None
        frozen = False
        try:
            frozen = not await self._hold(cell, timeout)
            if not frozen:
                state = await self._paused_state(cell)
        except BaseException:
            cell.handle.release()
            self.scheduler.add(cell)
            raise
        cell.time.hold()
        cell.paused = True
        cell.frozen = frozen
        rest = cell.mailbox.drain()
        mail = tuple(message for message in rest if not message.durable)
        cell.parked = len(mail)
        try:
            registration.instance = await self._advance(
                registration, AgentVerb.PAUSE, state=state, mail=mail, details={"state_saved": not frozen}
            )
        except BaseException:
            self._unpause(cell, rest)
            raise
        registration.stored_mail = True
        if len(mail) < len(rest):
            await self._env.store.mail.release(cell.agent_id, self._env.node_id, now=self._env.clock.now())

    def _unpause(self, cell: Cell, mail: list[AgentMessage]) -> None:
        """Let a cell go on whose pause did not come to the disk."""
        cell.paused = cell.frozen = False
        cell.parked = 0
        for message in mail:
            cell.mailbox.put(message)
        cell.handle.release()
        cell.time.go_on()
        self.scheduler.add(cell)
        cell.pump()

    async def _hold(self, cell: Cell, timeout: float) -> bool:
        """Hold at a safe point; a process too busy to answer is frozen between two instructions, then False."""
        try:
            await cell.handle.hold(timeout)
        except AgentPauseError:
            if cell.handle.process_id is None:
                raise
            await cell.handle.freeze()
            return False
        return True

    async def _paused_state(self, cell: Cell) -> dict[str, object]:
        try:
            state = await self._hook(cell, "on_pause")
            state = {} if state is None and "on_pause" not in cell.abilities.hooks else state
            if not isinstance(state, dict):
                raise PayloadError(f"on_pause of {cell.name!r} returned {type(state).__name__}, not a dict")
            copy, _ = checked(state, "on_pause()", self._env.settings.max_payload_bytes)
        except Exception as error:
            raise AgentPauseError(
                f"Agent {cell.name!r} could not be paused: {error}", agent_id=cell.agent_id, name=cell.name
            ) from error
        assert isinstance(copy, dict)
        return copy

    async def resume(self, registration: Registration) -> None:
        """Let a paused agent go on; mail that came meanwhile is there, in order."""
        cell = registration.cell
        assert cell is not None
        if not cell.frozen:
            try:
                state = self._env.store.agents.saved_state(cell.agent_id) or {}
                await self._hook(cell, "on_resume", state)
            except Exception as error:
                text = f"Agent {cell.name!r} could not be resumed: {type(error).__name__}: {error}"
                await self._end(registration, AgentVerb.RESUME_FAILED, text)
                raise AgentStartError(text, agent_id=cell.agent_id, name=cell.name) from error
        registration.instance = await self._advance(registration, AgentVerb.RESUME)
        await cell.unpark()
        cell.frozen = False
        cell.handle.release()
        cell.time.go_on()
        self.scheduler.add(cell)
        cell.pump()

    # -- the end in order

    async def shut(
        self,
        registration: Registration,
        timeout: float,
        *,
        grace: float | None = None,
        hook_seconds: float = STOP_HOOK_SECONDS,
    ) -> None:
        """End a living agent: its attempts have *timeout* seconds, then *grace* to clean up, and go back to
        the queue."""
        cell = registration.cell
        if cell is None:
            return
        cell.closing = True
        self.scheduler.remove(cell)
        cell.refuse_waiting(self._post.dead(cell))
        await self._advance(registration, AgentVerb.STOP)
        await self._finish_work(cell, timeout, grace)
        await self._quiet_hook(cell, "on_stop", hook_seconds)
        await self._bury(registration, cell, "stopped", grace)
        registration.instance = await self._advance(registration, AgentVerb.STOPPED)

    async def _finish_work(self, cell: Cell, timeout: float, grace: float | None = None) -> None:
        grace = self._env.settings.cancel_grace_seconds if grace is None else grace
        if cell.paused:
            timeout = 0.0
        running = [e.asyncio_task for e in cell.entries.values() if e.asyncio_task is not None]
        if running and timeout > 0:
            try:
                async with self._env.clock.timeout(timeout):
                    await asyncio.wait(running)
            except TimeoutError:
                pass  # the rest is ended now
        for attempt in list(cell.attempts.values()):
            attempt.end(Ending.INTERRUPTED)
        for entry in list(cell.entries.values()):
            if entry.attempt is None and entry.asyncio_task is not None:
                entry.asyncio_task.cancel()
        cell.handle.release()
        rest = [task for task in running if not task.done()]
        if rest:
            try:
                async with self._env.clock.timeout(grace):
                    await asyncio.wait(rest)
            except TimeoutError:
                cell.handle.kill()
                for attempt in list(cell.attempts.values()):
                    await attempt.give_up()

    async def _bury(self, registration: Registration, cell: Cell, reason: str, grace: float | None = None) -> None:
        """End what is left of a cell: its code, its address, its mail."""
        cell.closing = cell.dead = True
        registration.cell = None
        if registration in self._alive:
            self._alive.remove(registration)
        self.scheduler.remove(cell)
        self._post.remove(cell, self._post.dead(cell))  # before the code ends: its askers hear at once
        await cell.handle.stop(self._env.settings.cancel_grace_seconds if grace is None else grace)
        self._post.abandoned(cell, reason)
        try:
            await self._env.store.mail.release(cell.agent_id, self._env.node_id, now=self._env.clock.now())
        except LeaseLostError:
            return  # whoever rescued this node has given it back

    async def _end(self, registration: Registration, verb: AgentVerb, error_message: str, **fields: Any) -> None:
        """End a cell as failed."""
        cell = registration.cell
        if cell is None:
            return
        cell.closing = True
        self.scheduler.remove(cell)
        await self._finish_work(cell, 0.0)
        await self._quiet_hook(cell, "on_stop", STOP_HOOK_SECONDS)
        await self._bury(registration, cell, "died")
        registration.instance = await self._advance(registration, verb, error_message=error_message[:1000], **fields)
        self.fill_soon()

    # -- the end out of order

    async def _gone(self, cell: Cell) -> None:
        """Hear that a cell's host has ended; unless it was told to, the agent has died."""
        registration = cell.registration
        if cell.closing or registration.cell is not cell:
            return
        exit = cell.handle.exited.result()
        error = self._post.dead(cell)
        await self._dead_work(cell)
        await self._bury(registration, cell, "died")
        details: dict[str, object] = {"reason": exit.reason, "process_exit_code": exit.exit_code}
        if exit.stderr_tail:
            details["stderr_tail"] = exit.stderr_tail[-2000:]
        registration.instance = await self._advance(
            registration,
            AgentVerb.DIED,
            error_message=str(exit.error or error),
            details=details,
            facts=_limit_facts(cell, exit),
        )
        self._restart_by_policy(registration)

    async def _dead_work(self, cell: Cell) -> None:
        """Let the attempts of a dead cell settle: its askers and its tasks hear of the death at once."""
        cell.closing = True
        self.scheduler.remove(cell)
        self._post.remove(cell, self._post.dead(cell))
        running = [e.asyncio_task for e in cell.entries.values() if e.asyncio_task is not None]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    def _restart_by_policy(self, registration: Registration) -> None:
        window = self._windows.setdefault(registration.agent_id, RestartWindow(registration.options.restart))
        delay = window.next_delay(self._env.clock.monotonic()) if window.wanted(failed=True) else None
        if delay is None or self._env.status != "running":
            self.fill_soon()
            return
        self._due.add(registration.agent_id)
        restart = self._env.spawn(self._restart(registration, delay), f"restart of {registration.name}")
        self._restarts[registration.agent_id] = restart

    async def _restart(self, registration: Registration, delay: float) -> None:
        await self._env.clock.sleep(delay)
        async with registration.lock:
            self._due.discard(registration.agent_id)
            if registration.cell is not None or registration.instance.status is not AgentStatus.FAILED:
                return  # somebody was quicker
            count = registration.instance.restart_count + 1
            fact = Fact(
                event_type=EventType.AGENT_RESTARTED,
                agent_id=registration.agent_id,
                node_id=self._env.node_id,
                details={"restart_count": count, "waited_seconds": delay},
            )
            registration.instance = await self._advance(
                registration, AgentVerb.START, restart_count=count, facts=(fact,)
            )
            try:
                await self.launch(registration)
            except (AgentStartError, ProcessError):
                self._restart_by_policy(registration)

    def forget_restart(self, registration: Registration) -> None:
        """Call off a restart that waits: somebody takes over."""
        self._due.discard(registration.agent_id)
        restart = self._restarts.pop(registration.agent_id, None)
        if restart is not None and restart is not asyncio.current_task():
            restart.cancel()
        self._windows.pop(registration.agent_id, None)

    def _rebuild(self, registration: Registration) -> None:
        """Build an agent anew whose code did not end when it was told to."""
        cell = registration.cell
        if cell is not None and not cell.closing:
            cell.closing = True
            self._env.spawn(self._rebuilt(registration, cell), f"rebuild {registration.name}")

    async def _rebuilt(self, registration: Registration, cell: Cell) -> None:
        await self._dead_work(cell)
        await self._bury(registration, cell, "died")
        text = "Its code did not end when it was told to"
        registration.instance = await self._advance(registration, AgentVerb.DIED, error_message=text)
        await self._restart(registration, 0.0)

    def _too_many_errors(self, registration: Registration) -> None:
        cell = registration.cell
        if cell is None or cell.closing:
            return
        cell.closing = True
        errors = cell.consecutive_errors
        fact = Fact(
            event_type=EventType.AGENT_ERROR_THRESHOLD,
            agent_id=registration.agent_id,
            node_id=self._env.node_id,
            details={"consecutive_errors": errors},
        )
        text = f"{errors} attempts in a row failed"
        self._env.spawn(
            self._end(registration, AgentVerb.DIED, text, facts=(fact,)), f"error threshold of {registration.name}"
        )

    # -- places

    def queue(self, registration: Registration) -> None:
        """Remember who waits for a place."""
        if registration not in self._queued:
            self._queued.append(registration)

    def unqueue(self, registration: Registration) -> None:
        """Let one wait no longer."""
        if registration in self._queued:
            self._queued.remove(registration)

    @property
    def queued(self) -> int:
        """Return how many wait for a place, or for a quieter machine."""
        return len({registration.agent_id for registration in self._queued} | self.gate.waiting)

    @property
    def taken(self) -> int:
        """Return how many places are taken: by agents that live, and by those that are coming to life."""
        return len(self._alive) + self._starting

    def limit_for(self, registration: Registration) -> int | None:
        """Return how many agents may live for this one to start: places are kept for restarts, and for those before it."""
        most = self._env.limits.max_concurrent_agents
        if most is None:
            return None
        if self._queued and self._queued[0] is not registration:
            self.fill_soon()
            return 0
        return max(0, most - len(self._due - {registration.agent_id}))

    def fill_soon(self) -> None:
        """Begin to start who waits."""
        if self._queued:
            self._env.spawn(self.fill_places(), "fill places")

    @property
    def alive(self) -> list[Registration]:
        """Return the agents that live on this node, in order of start."""
        return list(self._alive)

    async def fill_places(self) -> None:
        """Start who waits, in order, as far as there are places."""
        async with self._filling:
            while self._queued and self._env.status == "running":
                if not await self._fill_place(self._queued[0]):
                    return

    async def _fill_place(self, registration: Registration) -> bool:
        """Start who waits longest; False when there is no place."""
        try:
            await self.gate.wait(registration)
        except AgentStateError:
            return True  # stopped meanwhile
        async with registration.lock:
            if registration not in self._queued:
                return True  # stopped, or started by somebody else
            registration.instance = await self._advance(
                registration, AgentVerb.START, limit=self.limit_for(registration)
            )
            if registration.instance.status is AgentStatus.QUEUED:
                return False
            self.unqueue(registration)
            try:
                await self.launch(registration)
            except (AgentStartError, ProcessError):
                return True  # failed, with its event; its place goes to the next
        return True

    async def shut_all(self, timeout: float, grace: float) -> None:
        """End all agents: their work has *timeout* seconds together, then *grace* together.

        Then on_stop runs in reverse order of start; what is left of STOP_HOOK_SECONDS (at most *grace*) is for all of them.
        """
        for task in list(self._restarts.values()):
            task.cancel()
        alive = list(reversed(self._alive))
        last = self._env.clock.monotonic() + timeout + min(grace, STOP_HOOK_SECONDS)
        for registration in alive:
            if registration.cell is not None:
                registration.cell.closing = True
        await asyncio.gather(*(self._finish_work(r.cell, timeout, grace) for r in alive if r.cell is not None))
        deadline = min(last, self._env.clock.monotonic() + min(grace, STOP_HOOK_SECONDS))
        for registration in alive:
            left = max(0.05, deadline - self._env.clock.monotonic())
            if registration.cell is not None and registration.cell.paused:
                await self._leave_paused(registration, left)
            else:
                await self.shut(registration, 0.0, grace=left, hook_seconds=left)

    async def _leave_paused(self, registration: Registration, seconds: float) -> None:
        """End a paused agent's cell and leave it paused in the store, with its state and mail."""
        cell = registration.cell
        assert cell is not None
        await self._quiet_hook(cell, "on_stop", seconds)
        await self._bury(registration, cell, "stopped", seconds)


def _limit_facts(cell: Cell, exit: Exit) -> tuple[Fact, ...]:
    if exit.reason != "limit" or exit.error is None:
        return ()
    details: dict[str, object] = {
        "resource_type": exit.error.resource_type,
        "current": exit.error.current,
        "limit": exit.error.limit,
    }
    return (Fact(event_type=EventType.RESOURCE_LIMIT_EXCEEDED, agent_id=cell.agent_id, details=details),)
