"""The conformance suite of the Host port: every level passes it, and a third party's launcher can.

Subclass :class:`HostSuite` in a test file as ``TestSomething`` and give it :meth:`HostSuite.host`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from shoal.errors import AgentStartError, VersionConflictError
from shoal.kernel.agent import BaseAgent
from shoal.kernel.clock import RealClock
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage
from shoal.kernel.ports import Handle, Host, Invocation, LaunchSpec
from shoal.kernel.task import Task

__all__ = ["HostSuite", "RecordingLink"]

_clock = RealClock()
_PATIENCE = 10.0


class RecordingLink:
    """A runtime that remembers what it was asked; ``receive_messages`` never comes back."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str | None, dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.stop = False

    async def call(self, verb: str, invocation_id: str | None, args: Mapping[str, Any]) -> Any:
        """Remember a verb."""
        self.calls.append((verb, invocation_id, dict(args)))
        if verb == "receive_messages":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled.append(verb)
                raise
        if verb == "shared_set":
            raise VersionConflictError(args["key"], 1, 2)

    def is_stopping(self) -> bool:
        """Tell what the test has set."""
        return self.stop

    def give_back(self, invocation_id: str | None, taken: AgentMessage | list[AgentMessage]) -> None:
        """Remember mail that came back."""
        self.calls.append(("give_back", invocation_id, {"taken": taken}))

    def metric(self, kind: str, name: str, value: float) -> None:
        """Remember a number."""
        self.calls.append((kind, None, {"name": name, "value": value}))


class _Worker(BaseAgent):
    """Does what its task is named."""

    async def on_start(self) -> None:
        self.started = True

    async def execute_task(self, task: Task) -> Any:
        return await getattr(self, task.name)(task)

    async def echo(self, task: Task) -> Any:
        return [task.input_data, self.config, self.name, self.agent_id]

    async def fail(self, task: Task) -> None:
        raise KeyError("lost")

    async def conflict(self, task: Task) -> None:
        await self.context.shared.set("k", 1)

    async def wait(self, task: Task) -> None:
        await self.context.receive_messages(block=True)

    async def count(self, task: Task) -> None:
        while True:
            await self.context.progress(0.5)
            await asyncio.sleep(0.001)


class _Broken(BaseAgent):
    def __init__(self, config: dict[str, Any]) -> None:
        raise LookupError("no luck")

    async def execute_task(self, task: Task) -> None: ...


def _plain(task: Task, context: Any) -> str:
    context.metrics.count("looking")
    while not context.is_stopping():
        time.sleep(0.001)
    return "saw it"


class HostSuite:
    """What every host keeps."""

    isolation = "inline"

    def host(self) -> AbstractAsyncContextManager[Host]:
        """Open the host under test."""
        raise NotImplementedError

    def run(self, main: Callable[[Host], Coroutine[Any, Any, None]]) -> None:
        """Run *main* with a host."""

        async def opened() -> None:
            async with self.host() as host:
                await main(host)

        asyncio.run(opened())

    @asynccontextmanager
    async def agent(self, host: Host, source: Any, link: RecordingLink) -> AsyncIterator[Handle]:
        """Start an agent and wait until it is ready."""
        handle = await host.start(self.spec(source), link)
        try:
            await handle.ready()
            yield handle
        finally:
            await handle.stop(2)
            assert handle.exited.done()

    def spec(self, source: Any) -> LaunchSpec:
        """Describe an agent."""
        return LaunchSpec(
            agent_id="a1",
            name="worker",
            source=source,
            config={"k": [1]},
            isolation=self.isolation,
            node_id="n1",
            runtime_id="r1",
        )

    def test_a_ready_agent_tells_what_it_can_do(self) -> None:
        async def main(host: Host) -> None:
            async with self.agent(host, _Worker, RecordingLink()) as handle:
                abilities = await handle.ready()
                assert abilities.takes_tasks and not abilities.takes_messages
                assert abilities.hooks == {"on_start"}
                assert (handle.process_id is None) == (handle.usage() is None)
                assert not handle.exited.done()
            assert (await handle.exited).reason == "stopped"

        self.run(main)

    def test_values_and_errors_come_back(self) -> None:
        async def main(host: Host) -> None:
            async with self.agent(host, _Worker, RecordingLink()) as handle:
                assert await handle.invoke(_work("echo", n=1)) == [{"n": 1}, {"k": [1]}, "worker", "a1"]
                with pytest.raises(Exception, match="lost") as caught:
                    await handle.invoke(_work("fail"))
                failure = Failure.of(caught.value)
                assert failure.error_type == "KeyError"
                assert failure.bases[:2] == ("KeyError", "LookupError")
                assert 'raise KeyError("lost")' in failure.traceback
                with pytest.raises(VersionConflictError) as conflict:
                    await handle.invoke(_work("conflict"))
                assert (conflict.value.key, conflict.value.actual) == ("k", 2)

        self.run(main)

    def test_a_failing_constructor_is_a_start_error(self) -> None:
        async def main(host: Host) -> None:
            handle = await host.start(self.spec(_Broken), RecordingLink())
            with pytest.raises(AgentStartError, match="LookupError: no luck") as caught:
                await handle.ready()
            assert caught.value.__cause__ is not None
            await handle.stop(2)

        self.run(main)

    def test_cancelling_ends_the_hook_and_its_call(self) -> None:
        async def main(host: Host) -> None:
            link = RecordingLink()
            async with self.agent(host, _Worker, link) as handle:
                running = asyncio.create_task(handle.invoke(_work("wait", "the-id")))
                await _until(lambda: link.calls)
                assert link.calls[0][:2] == ("receive_messages", "the-id")
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                await _until(lambda: link.cancelled)
                assert await handle.invoke(_work("echo"))

        self.run(main)

    def test_what_is_held_stands_still_until_released(self) -> None:
        async def main(host: Host) -> None:
            link = RecordingLink()
            async with self.agent(host, _Worker, link) as handle:
                running = asyncio.create_task(handle.invoke(_work("count")))
                await _until(lambda: len(link.calls) > 5)
                await handle.hold(5)
                held = len(link.calls)
                await asyncio.sleep(0.1)
                assert len(link.calls) <= held + 1  # one may have been on its way
                handle.release()
                await _until(lambda: len(link.calls) > held + 5)
                running.cancel()
                await asyncio.wait([running])

        self.run(main)

    def test_synchronous_code_sees_that_it_is_to_stop(self) -> None:
        async def main(host: Host) -> None:
            link = RecordingLink()
            async with self.agent(host, _plain, link) as handle:
                running = asyncio.create_task(handle.invoke(_work("any")))
                await _until(lambda: link.calls)
                link.stop = True
                assert await asyncio.wait_for(running, _PATIENCE) == "saw it"

        self.run(main)

    def test_kill_ends_it_at_once(self) -> None:
        async def main(host: Host) -> None:
            if self.isolation == "inline":
                pytest.skip("what runs on the runtime's own loop cannot be killed")
            async with self.agent(host, _Worker, RecordingLink()) as handle:
                running = asyncio.create_task(handle.invoke(_work("wait")))
                await handle.invoke(_work("echo"))
                handle.kill()
                end = await asyncio.wait_for(asyncio.shield(handle.exited), _PATIENCE)
                assert end.reason == "stopped"
                await asyncio.wait([running])
                assert running.cancelled() or running.exception() is not None

        self.run(main)


def _work(name: str, invocation_id: str | None = None, **data: object) -> Invocation:
    work = Task(task_id="t1", name=name, input_data=data, created_at=_clock.now())
    return Invocation(invocation_id=invocation_id or _clock.new_id(), hook="execute_task", argument=work, task=work)


async def _until(fact: Callable[[], Any]) -> None:
    deadline = _clock.monotonic() + _PATIENCE
    while not fact():
        assert _clock.monotonic() < deadline, "it never became true"
        await asyncio.sleep(0.002)
