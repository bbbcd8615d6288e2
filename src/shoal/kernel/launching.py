"""Coming to life: an agent's code is constructed, its hooks run, and it takes part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentError, AgentStartError, AgentStateError, ProcessError, ShoalError, StoreError
from shoal.kernel.agent import AgentStatus, AgentVerb
from shoal.kernel.cell import Cell, Keeper
from shoal.kernel.failure import Failure
from shoal.kernel.hooks import run_hook, run_on_stop
from shoal.kernel.ports import LaunchSpec
from shoal.kernel.status import advance, advance_surely
from shoal.kernel.stillness import renewed

if TYPE_CHECKING:
    from shoal.kernel.env import Env
    from shoal.kernel.link import CellLink
    from shoal.kernel.ports import Handle, Host
    from shoal.kernel.post import Post
    from shoal.kernel.registration import Registration

__all__ = ["Launching"]

READY_SECONDS = 30.0
HANDLE_SECONDS = 1.0
TRACEBACK_CHARS = 4000


class Launching:
    """Brings agents to life. Whoever calls holds the registration's lock."""

    def __init__(
        self,
        env: Env,
        post: Post,
        hosts: Mapping[str, Host],
        link: Callable[[], CellLink],
        place_free: Callable[[], object],
    ) -> None:
        """*place_free* is called when an agent did not come to life, and the store has heard so."""
        self._env = env
        self._place_free = place_free
        self._post = post
        self._hosts = hosts
        self._link = link

    async def launch(self, registration: Registration, keeper: Keeper) -> Cell:
        """Construct a starting agent and run its hooks; *keeper* hears what becomes of its cell.

        Raises:
            AgentStartError: its constructor, on_start or on_resume raised; the cause is chained.
            ProcessError: its process did not come up.
        """
        registration.generation += 1
        link = self._link()
        handle: Handle | None = None
        cell: Cell | None = None
        try:
            handle = await self._hosts[registration.options.isolation].start(self._spec(registration), link)
            async with self._env.clock.timeout(READY_SECONDS):
                abilities = await handle.ready()
            cell = Cell(self._post, registration, handle, abilities, keeper)
            link.cell = cell
            self._post.add(cell)
            await renewed(self._env)  # else others may have started it meanwhile
            await run_hook(cell, "on_start")
            state = self._env.store.agents.saved_state(registration.agent_id)
            if state is not None:
                await run_hook(cell, "on_resume", state)
            await advance(self._env, registration, AgentVerb.STARTED, process_id=handle.process_id)
        except (Exception, asyncio.CancelledError) as error:
            raise await self._failed(registration, handle, cell, error) from error
        return cell

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
            title=options.title,
        )

    async def _failed(
        self, registration: Registration, handle: Handle | None, cell: Cell | None, error: BaseException
    ) -> BaseException:
        """End what had begun, and return the error for whoever wanted the agent."""
        try:
            if cell is not None:
                cell.closing = True
                await run_on_stop(cell)
        finally:  # also when it is cut short there: nothing of it may live on
            if cell is not None:
                cell.dead = True
                self._post.remove(cell, self._post.dead(cell))
            if handle is not None:
                await handle.stop(self._env.within(HANDLE_SECONDS))
        if cell is not None:
            self._give_back(cell)
        why = _why(error)
        try:
            await advance(self._env, registration, AgentVerb.START_FAILED, **why)
        except AgentStateError:  # cut short in the moment in which the store heard that it runs
            await advance_surely(self._env, registration, AgentVerb.DIED, **why)
        except StoreError:  # whoever waits hears of it now, the store as soon as it listens again
            self._env.spawn(self._record_failure(registration, why), f"failed start of {registration.name}")
        self._place_free()
        return _told(registration, handle, cell, error)

    def _give_back(self, cell: Cell) -> None:
        """Let go of the mail that it took before it failed."""
        env, post = self._env, self._post
        post.undelivered.abandoned(cell, "died")
        release = env.persist(lambda: env.store.mail.release(cell.agent_id, env.node_id, now=env.clock.now()))
        env.spawn(release, f"mail of {cell.name}")

    async def _record_failure(self, registration: Registration, why: dict[str, Any]) -> None:
        async with registration.lock:
            if registration.cell is None and registration.instance.status is AgentStatus.STARTING:
                await advance_surely(self._env, registration, AgentVerb.START_FAILED, **why)
        self._place_free()


def _why(error: BaseException) -> dict[str, Any]:
    """Return what the store is told of a failed start: where it is the agent's own code that failed, with its traceback."""
    text = f"{type(error).__name__}: {error}"[:1000]
    own = error.__cause__ if isinstance(error, AgentStartError) else error
    if own is None or isinstance(own, (ShoalError, asyncio.CancelledError)):
        return {"error_message": text}
    return {"error_message": text, "details": {"traceback": Failure.of(own).traceback[-TRACEBACK_CHARS:]}}


def _told(registration: Registration, handle: Handle | None, cell: Cell | None, error: BaseException) -> BaseException:
    """Return what whoever wanted the agent is told."""
    if isinstance(error, (AgentStartError, ProcessError, StoreError, asyncio.CancelledError)):
        return error
    agent_id, name = registration.agent_id, registration.name
    if isinstance(error, AgentError) and handle is not None and handle.exited.done():
        exit = handle.exited.result()
        return ProcessError(
            f"Agent {name!r} died while it started: {error}",
            exit_code=exit.exit_code,
            stderr_tail=exit.stderr_tail,
            agent_id=agent_id,
            name=name,
        )
    if not isinstance(error, TimeoutError):
        text = f"Agent {name!r} failed to start: {Failure.brief(error).text}"
        return AgentStartError(text[:1000], agent_id=agent_id, name=name)
    text = f"Agent {name!r} did not come up in time"
    if cell is None and registration.options.isolation == "process":
        return ProcessError(text, agent_id=agent_id)
    return AgentStartError(text, agent_id=agent_id, name=name)
