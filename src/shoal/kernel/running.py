"""The runs that this node carries out: started by a caller, or taken up without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import LeaseLostError, RunActiveError, RunConflictError, StoreError
from shoal.kernel.ambient import Ambient, current_ambient
from shoal.kernel.bounded import CLEAN_UP_SECONDS
from shoal.kernel.carrying import Runnable, carry, let_go, result_from
from shoal.kernel.liverun import LiveRun
from shoal.kernel.news import News
from shoal.kernel.ports import Begun, Clock, Lease, RunEnd, RunOrder
from shoal.kernel.run import RunOptions, RunRecord, RunStatus
from shoal.kernel.runhandle import Past, RunHandle
from shoal.kernel.scope import current_scope
from shoal.kernel.stillness import good_until

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["NodeAmbient", "Running"]

R = TypeVar("R")
log = logging.getLogger("shoal")


class NodeAmbient:
    """The ambient of what ``runtime.run`` carries out (``Ambient``): the verbs that belong to no agent."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self.shared: dict[str, Any] = {}
        self.verbs: dict[str, Callable[..., Awaitable[Any]]] = {
            "lease_acquire": env.leasing.acquire,
            "lease_renew": self._renew,
            "lease_release": self._release,
            "run_tool": self._run_tool,
        }

    @property
    def clock(self) -> Clock:
        """Time, chance and ids of the runtime."""
        return self._env.clock

    def call(self, verb: str, args: Mapping[str, Any]) -> Awaitable[Any]:
        """Carry out a verb. As for agents, an answer that comes after the node's lease waits until that is renewed."""
        self._env.check_lease()
        if verb not in self.verbs:
            raise ValueError(f"{verb[:80]!r} is a verb of agents: there is none here")
        return self._env.answered(self.verbs[verb](**args))

    async def _run_tool(self, **args: Any) -> Any:
        if self._env.run_tool is None:
            raise RuntimeError("this runtime starts no processes")
        return await self._env.run_tool(**args)

    async def _renew(self, name: str, owner: str, token: int, ttl: float) -> Lease:
        held = Lease(name=name, owner=owner, token=token, until=self._env.clock.now())
        return await self._env.leasing.renew(held, ttl)

    async def _release(self, name: str, owner: str, settled: bool = True) -> None:
        given = self._env.leasing.release(name, owner)
        if settled:
            await given


class Running:
    """Live runs by id, and the patterns that are taken up without a caller."""

    def __init__(self, env: Env, ambient: Ambient) -> None:
        self._env = env
        self._ambient = ambient
        self._handles: dict[str, tuple[RunRecord, RunHandle[Any]]] = {}
        self.makers: dict[str, Callable[[], Runnable[Any]]] = {}
        self.news = News()
        self._refused: list[LiveRun] = []  # the store has refused to write their end

    def get(self, run_id: str) -> RunHandle[Any] | None:
        """Return the handle on a run that is under way here."""
        here = self._handles.get(run_id)
        return None if here is None else here[1]

    def start(self, runnable: Runnable[R], record: RunRecord, options: RunOptions, past: Past) -> RunHandle[R]:
        """Start a run, or return the handle on it when it is under way here.

        Raises RunConflictError: it is, with another pattern or input.
        """
        here = self._handles.get(record.run_id)
        if here is not None:
            return _same(here, record)
        handle: RunHandle[R] = RunHandle(record.run_id, self._env.clock, past)
        self._handles[record.run_id] = (record, handle)
        work = self._env.watch(self._work(handle, runnable, record, options), f"run {record.run_id}")
        handle.worked_by(work)
        work.add_done_callback(lambda _: self._handles.pop(record.run_id, None))
        return handle

    async def _work(self, handle: RunHandle[R], runnable: Runnable[R], record: RunRecord, options: RunOptions) -> R:
        env = self._env
        current_ambient.set(self._ambient)
        current_scope.set(None)
        good = good_until(env)
        begun, cut_short = await self._begin(RunOrder(record=record, node_id=env.node_id))
        if begun.hold is None:
            handle.was_finished(begun.record)
            return result_from(runnable, begun.result)
        live = LiveRun(env.store.runs, begun, env.clock, options=options, durable=True)
        live.pen.bound_to(env, good)
        handle.began(live)
        if cut_short:
            await let_go(live)
            raise asyncio.CancelledError
        record = begun.record
        try:
            return await carry(live, runnable, record.input, user_id=record.user_id, context=record.context)
        except StoreError:
            self._refused.append(live)
            await self.end_refused()
            raise

    async def end_refused(self) -> None:
        """Let go of runs that the store has cut short, when it takes writes again: the same ids go on then."""
        refused, self._refused = self._refused, []
        for live in refused:
            ended = RunEnd(status=RunStatus.INTERRUPTED, seconds=live.record.seconds + live.active_seconds)
            try:
                await live.writer.end(live.hold, ended, now=live.clock.now())
            except StoreError:
                self._refused.append(live)
            except LeaseLostError:
                continue

    async def _begin(self, order: RunOrder) -> tuple[Begun, bool]:
        """Take a run up; tell, too, whether this was cancelled meanwhile: what was taken up has to be let go then."""
        env = self._env
        beginning = asyncio.ensure_future(env.store.runs.begin(order, now=env.clock.now()))
        cut_short = False
        while not beginning.done():
            try:
                await asyncio.wait([beginning])
            except asyncio.CancelledError:
                cut_short = True
        return beginning.result(), cut_short

    def take_up(self, past: Past) -> None:
        """Go on with what nobody carries out, of the patterns that are registered here."""
        env = self._env
        if not self.makers or not env.settings.auto_recover or not env.staying:
            return
        for record in self._env.store.runs.unheld(list(self.makers), now=self._env.clock.now()):
            if record.run_id not in self._handles:
                try:
                    runnable = self.makers[record.pattern]()
                except Exception:
                    log.exception("the pattern %r of run %s could not be made", record.pattern, record.run_id)
                    continue
                handle = self.start(runnable, record, RunOptions(), past)
                self._env.spawn(_alone(handle), f"run {record.run_id} without a caller")

    def wake(self) -> None:
        """Let those who follow look again: something was committed, or the poll is due."""
        self.news.wake()
        for _, handle in self._handles.values():
            if handle.live is not None:
                handle.live.asking.news.wake()

    async def hand_over(self, seconds: float, grace: float) -> None:
        """Interrupt every run at the end of the steps that it is at, and after *seconds* in any case; *grace* is for
        letting go. Another node goes on with it."""
        handles = [handle for _, handle in self._handles.values()]
        try:
            async with self._env.clock.timeout(seconds):
                await asyncio.gather(*map(_reach_boundary, handles))
        except TimeoutError:
            log.warning("some of %d runs are interrupted within a step: their time is over", len(handles))
        await self.shut(grace)
        self._env.bus.ring("runs")

    async def shut(self, seconds: float) -> None:
        """Interrupt every run: another life goes on with it. Each has *seconds* to let go of what it does."""
        works = [work for _, handle in self._handles.values() if (work := handle.work) is not None]
        for work in works:
            work.cancel()
        if works:
            try:
                async with self._env.clock.timeout(seconds + CLEAN_UP_SECONDS):
                    await asyncio.wait(works)
            except TimeoutError:
                log.error("runs that do not end when they are interrupted: %s", [work.get_name() for work in works])

    async def cancel_asked(self) -> None:
        """Cancel what somebody elsewhere has asked to cancel."""
        for _, handle in list(self._handles.values()):
            reason = await self._env.store.runs.cancel_asked(handle.id)
            if reason is not None:
                self._env.spawn(handle.cancel(reason), f"cancel run {handle.id}")


def _same(here: tuple[RunRecord, RunHandle[Any]], record: RunRecord) -> RunHandle[Any]:
    """Return the handle on a run that is under way on this node."""
    known, handle = here
    if (known.pattern, known.input) != (record.pattern, record.input):
        raise RunConflictError(
            f"run {record.run_id!r:.200} is under way with another pattern or input", run_id=record.run_id
        )
    return handle


async def _reach_boundary(handle: RunHandle[Any]) -> None:
    await handle.begun()  # one that is just being taken up would else be at a step when the others have ended theirs
    if handle.live is not None:
        await handle.live.boundary.reach()


async def _alone(handle: RunHandle[Any]) -> None:
    """Wait for a run that nobody waits for; what it raises is logged, but for what another node did sooner."""
    try:
        await handle
    except (RunActiveError, LeaseLostError):
        return
