"""The life of a service: hooks, restarts of its runtime, what cannot be started, traces, who hangs."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from shoal.errors import AgentLimitError, AgentStartError, ConfigError, StoreError
from shoal.kernel.limits import ResourceLimit
from shoal.kernel.trace import DoneSpan, listen_to_spans
from shoal.runtime import AgentRuntime
from shoal.services import AgentInfo, Deadlock, RegistryUnavailableError, RequestError, ServiceAgent
from shoal.testing.clock import VirtualClock, run_virtual
from tests.lifecycle.services.test_control import code_of
from tests.support.runtimes import running
from tests.support.servers import Asker, Echo, Looper


class Told(ServiceAgent):
    """Notes its hooks; has no ``super().__init__``."""

    def __init__(self, config: Any = None) -> None:
        self.told: list[Any] = []

    def info(self) -> AgentInfo:
        return AgentInfo("told", ("told",))

    def on_start(self) -> None:
        self.told.append("start")

    async def on_stop(self) -> None:
        self.told.append("stop")

    def on_pause(self) -> dict[str, Any]:
        self.told.append("pause")
        return {"n": 5}

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.told.append(("resume", state))

    def on_error(self, error: BaseException, payload: dict[str, Any]) -> None:
        self.told.append((type(error).__name__, payload))

    async def process_request(self, payload: dict[str, Any]) -> Any:
        return {"n": 10 // payload["n"], "config": self.config}


def test_a_clean_end_of_the_node_unregisters_what_it_started(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Echo)
            paused = await runtime.services.start(Told)
            await runtime.services.control(paused, "pause")
            await runtime.restart()
            assert await runtime.services.request(record.instance, {"n": 1}) == {"echo": 1, "pid": os.getpid()}
        async with running(store_url) as runtime:
            assert [known.instance for known in runtime.services.records()] == [paused.instance]

    run(main)


def test_hooks_are_called_once_each(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            agent = Told({"a": 1})
            record = await runtime.services.start(agent)
            assert await runtime.services.request("told", {"n": 5}) == {"n": 2, "config": {"a": 1}}
            assert await code_of(runtime.services.request("told", {"n": 0})) == "EXECUTION_ERROR"
            for action in ("pause", "pause", "resume", "resume"):
                await runtime.services.control(record, action)
            await runtime.services.stop(record.instance)
            assert agent.told == ["start", ("ZeroDivisionError", {"n": 0}), "pause", ("resume", {"n": 5}), "stop"]

    run(main)


def test_services_are_there_again_after_a_restart_of_the_runtime(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Echo)
            asker = await runtime.services.start(Asker)
            await runtime.restart()
            header = {"from_uuid": "x", "to_uuid": "y", "event_uuid": "e", "type": "request", "timestamp": 1}
            request = {"header": header, "payload": {"target": "echo", "payload": {"n": 1}}}
            answer = await runtime.request(asker.instance, "request", request)  # before anybody asks for the noun
            assert answer.data["payload"]["asked"]["echo"] == 1
            asked = await runtime.services.request("asker", {"target": "echo", "payload": {"n": 2}})
            assert asked["asked"]["echo"] == 2

    run(main)


def test_what_does_not_start_is_not_known(store_url: str, run: Any) -> None:
    class Broken(Told):
        def on_start(self) -> None:
            raise OSError("no disk")

    class Unbuilt(Told):
        def __init__(self, config: Any = None) -> None:
            raise OSError("no hands")

    async def main() -> None:
        limits = ResourceLimit(max_concurrent_agents=1)
        async with running(store_url, limits=limits) as runtime:
            services = runtime.services
            with pytest.raises(AgentStartError, match="no disk"):
                await services.start(Broken)
            with pytest.raises(OSError, match="no hands"):
                await services.start(Unbuilt)
            with pytest.raises(ConfigError, match="isolation must be"):
                await services.start(Told, isolation="nowhere")  # type: ignore[arg-type]
            assert runtime.list_agents() == []
            await services.start(Told)
            with pytest.raises(AgentLimitError):
                await services.start(Echo)
            assert [record.name for record in services.records()] == ["told"]
            with pytest.raises(TypeError, match="capabilities are words"):
                await services.discover([])
            with pytest.raises(ValueError, match="grace"):
                await services.stop("told", grace=-1)
            with pytest.raises(ValueError, match="'told' is a service, not an instance"):
                await services.stop("told")
            await services.stop("nobody")
            assert [record.state for record in services.records()] == ["running"]

    run(main)


def test_an_agent_with_such_metadata_of_its_own_is_no_service(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            await runtime.services.start(Echo)
            await runtime.register_agent("plain", Echo, metadata={"service": "billing"}, capabilities=["echo"])
            await runtime.register_agent("odd", Echo, metadata={"service": {"name": "echo"}}, capabilities=["echo"])
            await runtime.start_agent("plain")
            assert [record.name for record in runtime.services.records()] == ["echo"]
            assert len(await runtime.services.discover("echo")) == 1

    run(main)


def test_a_circle_is_told_with_its_names(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url) as runtime:
            for name in ("a", "b"):
                await runtime.services.start(Looper, {"name": name}, instance=name)
            ask = runtime.services.request
            both = (ask("a", {"ring": ["b"], "pause": 0.05}), ask("b", {"ring": ["a"], "pause": 0.05}))
            ended = await asyncio.gather(*both, return_exceptions=True)
            (error,) = [each for each in ended if isinstance(each, RequestError)]
            assert isinstance(error, Deadlock)
            assert set(error.cycle) == {"a", "b"}

    run(main)


def test_one_trace_goes_through_all_hops(store_url: str, run: Any) -> None:
    async def main() -> None:
        spans: list[DoneSpan] = []
        stop = listen_to_spans(spans.append)
        try:
            async with running(store_url) as runtime:
                for name in ("a", "b", "c"):
                    await runtime.services.start(Looper, {"name": name})
                await runtime.services.request("a", {"ring": ["b", "c"]})
        finally:
            stop()
        by_name = {span.name: span.span for span in spans}
        a, b, c = (by_name[f"request {name}"] for name in "abc")
        assert len({a.trace_id, b.trace_id, c.trace_id}) == 1
        assert (a.parent_span_id, b.parent_span_id, c.parent_span_id) == (None, a.span_id, b.span_id)

    run(main)


def test_code_that_hangs_in_its_health_is_neither_killed_nor_asked_again_at_once(store_url: str, run: Any) -> None:
    class Hanging(Echo):
        def health(self) -> bool:
            time.sleep(1.0)
            return True

    async def main() -> None:
        async with running(store_url) as runtime:
            record = await runtime.services.start(Hanging, isolation="process")
            control = runtime.services.control_of
            known = runtime.services.directory.get(record.uuid)
            assert known is not None
            with pytest.raises(TimeoutError):
                await runtime.agents.control(record.uuid, {"action": "health"}, 0.1)
            began = time.monotonic()
            assert await code_of(control.ask_health(known)) == "TIMEOUT"
            assert time.monotonic() - began < 0.5
            assert (await runtime.services.request(record, {"n": 1}))["echo"] == 1
            await asyncio.sleep(1.2)
            assert (await control.ask_health(known))["ok"]
            assert runtime.agents.get(record.uuid).process_id == record.pid

    run(main)


def test_register_tries_three_times_or_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(clock: VirtualClock) -> None:
        async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
            agents, tries = runtime.store.agents, []
            register = agents.register

            def refuse(*args: Any, **named: Any) -> Any:
                tries.append(clock.monotonic())
                if len(tries) in (4, 9):
                    return register(*args, **named)
                raise StoreError("the disk is full")

            monkeypatch.setattr(agents, "register", refuse)
            began = clock.monotonic()
            agent = Echo()
            with pytest.raises(RegistryUnavailableError) as error:
                await agent.run(runtime)
            assert (error.value.attempts, agent.registered) == (3, False)
            assert [at - began for at in tries] == pytest.approx([0, 1, 2], abs=0.1)
            serving = asyncio.ensure_future(agent.run(runtime))
            await clock.sleep(1)
            assert agent.registered
            await agent.shutdown()
            await serving
            later = Echo()
            serving = asyncio.ensure_future(later.run(runtime, register="background"))
            await clock.sleep(5)
            assert [later.registered] == [False]
            await clock.sleep(20)
            assert later.registered
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            assert runtime.services.records() == []

    run_virtual(main)
