"""Agents in threads of their own: verbs hop, cancels arrive, code that never awaits can be held and interrupted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from shoal.errors import AgentPauseError, AgentStartError, DeadAgentError, LeaseLostError
from shoal.kernel.agent import BaseAgent
from shoal.kernel.clock import RealClock
from shoal.kernel.context import AgentContext
from shoal.kernel.ports import Handle, Invocation, LaunchSpec
from shoal.kernel.thread import ThreadHost
from shoal.kernel.threads import DaemonPool, Interrupted
from shoal.testing.clock import run_checked

TASK: Any = SimpleNamespace(input_data={})


class RecordingLink:
    """The runtime's side: remembers what was called, in which thread."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None, Mapping[str, Any], int]] = []
        self.numbers: list[tuple[str, str, float]] = []
        self.stopping = False

    def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Awaitable[Any]:
        async def answer() -> Any:
            self.calls.append((verb, invocation_id, args, threading.get_ident()))
            if verb == "request":
                raise DeadAgentError("nobody there")
            return 3

        return answer()

    def is_stopping(self) -> bool:
        return self.stopping

    def give_back(self, invocation_id: str | None, taken: Any) -> None:
        raise NotImplementedError

    def metric(self, kind: str, name: str, value: float) -> None:
        self.numbers.append((kind, name, value))


def _invocation(name: str = "one", hook: str = "execute_task") -> Invocation:
    return Invocation(invocation_id=name, hook=hook, argument=TASK)


def _with_agent(source: Any, main: Callable[[Handle, RecordingLink], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        link = RecordingLink()
        pool = DaemonPool(4)
        spec = LaunchSpec(
            agent_id="id",
            name="worker",
            source=source,
            config={"n": 7},
            isolation="thread",
            node_id="n",
            runtime_id="r",
        )
        handle = await ThreadHost(RealClock(), pool).start(spec, link)
        try:
            await handle.ready()
            await main(handle, link)
        finally:
            await handle.stop(5)
            pool.shutdown()
        assert handle.exited.done()

    async def guarded() -> None:
        async with asyncio.timeout(20):
            await whole()

    run_checked(guarded)
    _wait_for(lambda: not [t for t in threading.enumerate() if t.name == "shoal-agent-worker"])


def _wait_for(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.001)


async def _until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not fact():
            await asyncio.sleep(0.001)


def test_the_agent_lives_in_a_thread_of_its_own_and_its_verbs_hop_to_the_runtimes_loop() -> None:
    class Agent(BaseAgent):
        async def execute_task(self, task: Any) -> Any:
            self.context.metrics.count("done")
            reached = await self.context.broadcast_message("hello", {})
            return [self.config, threading.get_ident(), reached]

    async def main(handle: Handle, link: RecordingLink) -> None:
        config, thread, reached = await handle.invoke(_invocation())
        assert (config, reached) == ({"n": 7}, 3)
        assert thread != threading.get_ident()
        ((verb, invocation_id, _, called_in),) = link.calls
        assert (verb, invocation_id, called_in) == ("broadcast_message", "one", threading.get_ident())
        assert link.numbers == [("count", "done", 1)]

    _with_agent(Agent, main)


def test_errors_cross_both_ways() -> None:
    class Agent(BaseAgent):
        async def execute_task(self, task: Any) -> Any:
            with pytest.raises(DeadAgentError, match="nobody there"):
                await self.context.request("x", "ask", {})
            raise KeyError("item")

    async def main(handle: Handle, link: RecordingLink) -> None:
        with pytest.raises(KeyError, match="item"):
            await handle.invoke(_invocation())

    _with_agent(Agent, main)


def test_a_constructor_that_raises_is_a_start_error_with_its_cause() -> None:
    class Agent:
        def __init__(self) -> None:
            raise ValueError("no key")

        async def execute_task(self, task: Any) -> Any: ...

    async def main(handle: Handle, link: RecordingLink) -> None:
        raise AssertionError("never ready")

    with pytest.raises(AgentStartError, match="ValueError: no key") as caught:
        _with_agent(Agent, main)
    assert isinstance(caught.value.__cause__, ValueError)


def test_synchronous_functions_run_in_further_threads_so_that_the_agent_stays_reachable() -> None:
    release = threading.Event()

    class Agent:
        def execute_task(self, task: Any) -> str:
            assert release.wait(10)
            return threading.current_thread().name

        async def on_message(self, message: Any) -> str:
            return "heard"

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        assert await handle.invoke(_invocation("two", "on_message")) == "heard"
        release.set()
        assert (await work).startswith("shoal-sync-")

    _with_agent(Agent(), main)


def test_a_cancel_reaches_the_coroutine_and_returns_when_its_cleanup_has_ended() -> None:
    log: list[str] = []

    async def agent(task: Any) -> None:
        try:
            log.append("running")
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            log.append("cleaned")

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log))
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert log == ["running", "cleaned"]

    _with_agent(agent, main)


def _spin(log: list[Any], context: AgentContext | None = None) -> None:
    log.append(0)
    while context is None or not context.is_stopping():
        log[0] += 1


def test_an_async_loop_that_never_awaits_is_interrupted_and_the_next_task_completes() -> None:
    log: list[Any] = []

    async def agent(task: Any) -> str:
        if not log:
            _spin(log)
        return "next"

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log) and log[0] > 1000)
        work.cancel()
        await asyncio.sleep(0.05)
        assert not work.done()
        handle.interrupt("another")
        await asyncio.sleep(0.05)
        assert not work.done(), "only the invocation that was named is interrupted"
        handle.interrupt("one")
        with pytest.raises(asyncio.CancelledError):
            await work
        assert await handle.invoke(_invocation("two")) == "next"

    _with_agent(agent, main)


def test_a_synchronous_loop_is_interrupted() -> None:
    log: list[Any] = []

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log) and log[0] > 1000)
        work.cancel()
        await asyncio.sleep(0.01)
        handle.interrupt("one")
        with pytest.raises(asyncio.CancelledError):
            await work

    _with_agent(lambda task: _spin(log), main)


def test_an_interrupt_never_strikes_the_event_loop_itself() -> None:
    async def agent(task: Any) -> int:
        total = 0
        for _ in range(300):
            await asyncio.sleep(0)
            total += sum(range(200))
        return total

    async def main(handle: Handle, link: RecordingLink) -> None:
        struck = 0
        for n in range(60):
            work = asyncio.create_task(handle.invoke(_invocation(f"i{n}")))
            await asyncio.sleep(0.001 * (n % 5))
            handle.interrupt(f"i{n}")
            try:
                await work
            except Interrupted:
                struck += 1
        assert await handle.invoke(_invocation("last")) == 300 * sum(range(200))

    _with_agent(agent, main)


def test_hold_stands_at_the_next_await_and_goes_on_from_there_with_its_locals() -> None:
    counts: list[int] = []

    async def agent(task: Any) -> int:
        count = 0
        while count < 1_000_000 and not stop.is_set():
            count += 1
            counts[:] = [count]
            await asyncio.sleep(0)
        return count

    stop = threading.Event()

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(counts))
        await handle.hold(5)
        held = counts[0]
        await asyncio.sleep(0.1)
        assert counts[0] == held
        handle.release()
        await _until(lambda: counts[0] > held)
        stop.set()
        assert await work == counts[0]

    _with_agent(agent, main)


def test_code_that_never_awaits_is_held_at_its_next_call_of_the_context() -> None:
    log: list[Any] = []

    async def agent(task: Any, context: AgentContext) -> str:
        _spin(log, context)
        return "ended"

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log) and log[0] > 10)
        for _ in range(2):
            await handle.hold(5)
            held = log[0]
            await asyncio.sleep(0.05)
            assert log[0] == held
            handle.release()
            await _until(lambda: log[0] > held)  # noqa: B023
        link.stopping = True
        assert await work == "ended"

    _with_agent(agent, main)


@pytest.mark.parametrize("kind", ["async", "sync"])
def test_code_that_neither_awaits_nor_calls_cannot_be_held_and_runs_on(kind: str) -> None:
    log: list[Any] = []
    end = threading.Event()

    def work_on() -> str:
        log.append(0)
        while not end.is_set():
            log[0] += 1
        return "ended"

    async def asynchronous(task: Any) -> str:
        return work_on()

    def synchronous(task: Any) -> str:
        return work_on()

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log))
        with pytest.raises(AgentPauseError, match=r"within 0\.1 s"):
            await handle.hold(0.1)
        end.set()
        assert await work == "ended"
        await handle.hold(5)
        handle.release()

    _with_agent(asynchronous if kind == "async" else synchronous, main)


def test_a_thread_stuck_in_c_is_abandoned_and_what_it_still_does_is_void() -> None:
    stuck, refused = threading.Event(), threading.Event()
    log: list[str] = []

    async def agent(task: Any, context: AgentContext) -> None:
        log.append("in C")
        try:
            stuck.wait(20)
        except Interrupted:
            log.append("it goes on all the same")
        try:
            context.metrics.count("late")
            await context.broadcast_message("late", {})
        except LeaseLostError:
            refused.set()
            raise

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log))
        handle.kill()
        with pytest.raises(Interrupted):
            await work
        assert (await handle.exited).reason == "stopped"
        stuck.set()
        await asyncio.to_thread(_wait_for, lambda: not _alive())
        assert refused.is_set()
        assert len(log) == 2
        assert link.calls == []
        assert link.numbers == []

    _with_agent(agent, main)


def _alive() -> bool:
    return any(t.name == "shoal-agent-worker" for t in threading.enumerate())


def test_an_agent_that_interrupts_its_thread_has_died_and_whoever_waits_hears_it() -> None:
    async def agent(task: Any) -> None:
        raise KeyboardInterrupt

    async def main(handle: Handle, link: RecordingLink) -> None:
        with pytest.raises(DeadAgentError, match=r"died: KeyboardInterrupt\(\)"):
            await handle.invoke(_invocation())
        assert (await handle.exited).reason == "died"
        with pytest.raises(DeadAgentError, match="has ended"):
            await handle.invoke(_invocation("two"))

    _with_agent(agent, main)


def test_stop_cancels_what_still_runs_and_leaves_no_thread() -> None:
    log: list[str] = []

    async def agent(task: Any) -> None:
        try:
            log.append("running")
            await asyncio.sleep(60)
        finally:
            log.append("cleaned")

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log))
        await handle.stop(5)
        assert log == ["running", "cleaned"]
        assert (await handle.exited).reason == "stopped"
        with pytest.raises((asyncio.CancelledError, DeadAgentError)):
            await work

    _with_agent(agent, main)


def test_what_swallows_every_cancel_takes_no_further_step_when_it_is_killed() -> None:
    log: list[str] = []

    async def agent(task: Any) -> None:
        while True:
            log.append("running")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                continue

    async def main(handle: Handle, link: RecordingLink) -> None:
        work = asyncio.create_task(handle.invoke(_invocation()))
        await _until(lambda: bool(log))
        await handle.stop(0.2)
        await asyncio.wait([work])
        with pytest.raises(Interrupted):
            work.result()

    _with_agent(agent, main)  # waits for the end of its thread; an asyncio task that is left pending is heard of
    assert log == ["running", "running"]
