"""Agents with a thread and an event loop of their own: one that never awaits holds up nobody but itself."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from shoal.errors import AgentPauseError, ConfigError, DeadAgentError
from shoal.kernel.hop import HopLink
from shoal.kernel.inline import InlineHandle
from shoal.kernel.ports import Abilities, Clock, Exit, Handle, Invocation, LaunchSpec, ResourceUsage, RuntimeLink
from shoal.kernel.stepping import Watch, Watched, clean_up
from shoal.kernel.threads import DaemonPool, Interrupted

__all__ = ["ThreadHandle", "ThreadHost"]

_POLL_SECONDS = 0.01


class ThreadHost:
    """Starts agents in threads of their own."""

    def __init__(self, clock: Clock, pool: DaemonPool) -> None:
        self._clock = clock
        self._pool = pool

    async def check(self, source: Any, box: Any = None) -> str:
        """Take any source: nothing travels. Raises ConfigError for a *box*: there are no walls here."""
        if box is not None:
            raise ConfigError("box= is for agents with isolation='bubblewrap', 'gvisor', 'microvm' or 'auto'")
        return "thread"

    async def start(self, spec: LaunchSpec, link: RuntimeLink) -> Handle:
        """Begin to start an agent."""
        return ThreadHandle(spec, link, self._clock, self._pool)

    async def close(self) -> None:
        """Nothing is kept besides the handles."""


class ThreadHandle:
    """A living agent: an InlineHandle on a loop of its own, in a daemon thread.

    Invariant: what the abandoned thread still does has no effect, since ``HopLink`` refuses every call after ``kill``.
    """

    process_id: int | None = None

    def __init__(self, spec: LaunchSpec, link: RuntimeLink, clock: Clock, pool: DaemonPool) -> None:
        self._spec = spec
        self._clock = clock
        self._pool = pool
        self._home = asyncio.get_running_loop()
        self.exited: asyncio.Future[Exit] = self._home.create_future()
        self._loop = asyncio.new_event_loop()
        self._hop = HopLink(link, self._home)
        self._outcomes: dict[str, asyncio.Future[Any]] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}  # by invocation; belongs to the agent's loop
        self._holding: Future[None] | None = None
        self._ending = False
        self._died = False  # its loop has ended by itself: what is cancelled now was not cancelled by anybody
        self._inner: InlineHandle  # made in the agent's thread, by ready()
        self._thread = threading.Thread(target=self._live, name=f"shoal-agent-{spec.name}", daemon=True)
        self._watch = Watch(self._thread)
        self._thread.start()

    def _live(self) -> None:
        exit = Exit(reason="stopped")
        self._hop.thread_id = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
                break
            except Interrupted:
                continue  # it struck between two steps: nothing of the agent's was under way
            except (SystemExit, KeyboardInterrupt) as error:  # asyncio hands these two on to whoever runs the loop
                exit = Exit(reason="died", error=error)
                break
        self._died = not self._ending
        clean_up(self._loop, self._watch, self._tasks)
        self._loop.close()
        _post(self._home, self._gone, exit)

    def _gone(self, exit: Exit) -> None:
        if not self._ending and exit.reason == "stopped":
            exit = Exit(reason="died")
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(
                    DeadAgentError(
                        f"Agent {self._spec.name!r} died: {exit.error!r}" if exit.error else "its thread ended",
                        reason=exit.reason,
                        agent_id=self._spec.agent_id,
                        name=self._spec.name,
                    )
                )
        if not self.exited.done():
            self.exited.set_result(exit)

    def _submit(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Run *work* on the agent's loop, after what was submitted before."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed
            work.close()
            raise DeadAgentError(
                f"Agent {self._spec.name!r} has ended", reason="stopped", agent_id=self._spec.agent_id
            ) from None

    async def ready(self) -> Abilities:
        """Construct the agent in its thread. Raises AgentStartError with the constructor's error chained."""
        try:
            abilities: Abilities = await self._enter("", self._construct())
        except asyncio.CancelledError:
            self.kill()
            raise
        return abilities

    async def _construct(self) -> Abilities:
        self._inner = InlineHandle(self._spec, self._hop, self._clock, self._pool)
        return await self._inner.ready()

    async def invoke(self, invocation: Invocation) -> Any:
        """Run a hook in the agent's thread; a cancellation is passed on and waits for its end."""
        return await self._enter(invocation.invocation_id, self._inner.invoke(invocation))

    async def _enter(self, key: str, work: Coroutine[Any, Any, Any]) -> Any:
        outcome = self._outcomes[key] = self._home.create_future()
        try:
            self._submit(self._begin(key, work, outcome))
            try:
                return await asyncio.shield(outcome)
            except asyncio.CancelledError:
                _post(self._loop, self._cancel, key)
                if not key:  # a constructor hears of no cancellation
                    outcome.cancel()
                    raise
                await asyncio.wait([outcome])
                if not outcome.cancelled():
                    outcome.exception()  # looked at: the cancellation is what counts
                raise
        except DeadAgentError:
            work.close()
            raise
        finally:
            del self._outcomes[key]

    async def _begin(self, key: str, work: Coroutine[Any, Any, Any], outcome: asyncio.Future[Any]) -> None:
        task = self._loop.create_task(Watched(work, self._watch, key), name=f"{self._spec.name} {key}")
        self._tasks[key] = task

        def report(ended: asyncio.Task[Any]) -> None:
            del self._tasks[key]
            cancelled = ended.cancelled()
            if self._died and cancelled:
                return  # whoever waits hears of the death
            error = None if cancelled else ended.exception()
            result = None if cancelled or error is not None else ended.result()
            _post(self._home, _settle, outcome, cancelled, error, result)

        task.add_done_callback(report)

    def _cancel(self, key: str) -> None:
        if key in self._tasks:
            self._tasks[key].cancel()

    def interrupt(self, invocation_id: str) -> None:
        """Raise Interrupted where the invocation runs now: in the agent's thread, or in one for synchronous code."""
        self._watch.strike(invocation_id)
        self._inner.interrupt(invocation_id)

    async def hold(self, timeout: float) -> None:
        """Hold coroutines at their next await, and code that never awaits at its next call of the context."""
        self._hop.open.clear()
        holding = self._holding = self._submit(self._inner.hold(timeout))
        deadline = self._clock.monotonic() + timeout
        while not holding.done() and not self._hop.held:
            if self._clock.monotonic() >= deadline:
                self.release()
                raise AgentPauseError(
                    f"Agent {self._spec.name!r} could not be paused: it neither awaited nor called its context "
                    f"within {timeout:g} s",
                    agent_id=self._spec.agent_id,
                    name=self._spec.name,
                )
            await self._clock.sleep(_POLL_SECONDS)
        if holding.done() and (error := holding.exception()) is not None:
            self.release()
            raise error

    async def freeze(self) -> None:
        """Raise AgentPauseError: a thread cannot be frozen."""
        await self._inner.freeze()

    def release(self) -> None:
        """Let all go on."""
        if self._holding is not None:
            self._holding.cancel()  # one that did not come to hold must not do so later
            self._holding = None
        with contextlib.suppress(DeadAgentError):
            self._submit(_call(self._inner.release))
        self._hop.open.set()

    async def stop(self, grace: float) -> None:
        """Cancel what runs, end the loop and wait *grace* seconds for the thread; then abandon it."""
        self._ending = True
        if self._thread.is_alive():
            self._hop.open.set()
            _post(self._loop, self._loop.stop)
            try:
                async with self._clock.timeout(grace):
                    await asyncio.shield(self.exited)
            except TimeoutError:
                return  # it is killed
            finally:
                if not self.exited.done():
                    self.kill()

    def kill(self) -> None:
        """Abandon the thread: whoever waits for it is told at once, and what it still does is void."""
        self._ending = True
        self._hop.abandoned = True
        self._hop.open.set()
        for outcome in self._outcomes.values():
            if not outcome.done():
                outcome.set_exception(Interrupted())
        _post(self._loop, self._end_inner)
        self._watch.strike()
        if not self.exited.done():
            self.exited.set_result(Exit(reason="stopped"))

    def _end_inner(self) -> None:
        if hasattr(self, "_inner"):
            self._inner.kill()
        self._loop.stop()

    def usage(self) -> ResourceUsage | None:
        """Return None: it has no process of its own."""
        return None


async def _call(fn: Callable[[], None]) -> None:
    fn()


def _settle(outcome: asyncio.Future[Any], cancelled: bool, error: BaseException | None, result: Any) -> None:
    if outcome.done():
        return  # nobody waits for it any more
    if cancelled:
        outcome.cancel()
    elif error is None:
        outcome.set_result(result)
    elif not isinstance(error, (SystemExit, KeyboardInterrupt)):  # those end the thread, not the runtime: see _gone
        outcome.set_exception(error)


def _post(loop: asyncio.AbstractEventLoop, fn: Callable[..., object], *args: Any) -> None:
    """Call *fn* on *loop*, if it still lives."""
    try:
        loop.call_soon_threadsafe(fn, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
