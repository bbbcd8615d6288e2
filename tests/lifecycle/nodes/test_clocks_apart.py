"""Two nodes whose wall clocks are ten minutes apart: what one says of time, the other understands."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from shoal import AgentRuntime, BaseAgent, Task, get_lock
from shoal.errors import ConfigError, ResponseTimeoutError
from shoal.kernel.clock import RealClock
from shoal.kernel.heartbeat import renew_lease
from shoal.orchestration import Pipeline
from tests.support.clocks import WrongClock
from tests.support.runtimes import until
from tests.support.servers import Echo

Run = Callable[..., Any]
APART = [(-300.0, 300.0), (300.0, -300.0)]


class Locker(BaseAgent):
    """Holds a lock in each task, and tells when it had it."""

    async def execute_task(self, task: Task) -> Any:
        async with get_lock("clocks", "one", 30, ttl=1.0) as lock:
            began = RealClock().monotonic()
            await asyncio.sleep(task.input_data["hold"])
            return [lock.token, began, RealClock().monotonic()]


class Slow(BaseAgent):
    """Handles one message at a time, each as long as it says, and keeps what it heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    async def on_message(self, message: Any) -> Any:
        self.heard.append(message.data["n"])
        await asyncio.sleep(message.data["busy"])
        return message.data["n"]


class Stage:
    """One call of a pattern, which waits until it may end."""

    name = "stage"

    def __init__(self) -> None:
        self.calls = 0
        self.may_end = asyncio.Event()

    async def chat(self, message: str) -> str:
        self.calls += 1
        await self.may_end.wait()
        return f"{message}!"


@pytest.fixture(params=["nats", "postgres"])
def urls(request: pytest.FixtureRequest, postgres_url: str) -> dict[str, Any]:
    """Where nodes meet."""
    return {"store": postgres_url, "bus": request.getfixturevalue("nats_url") if request.param == "nats" else None}


@asynccontextmanager
async def two_nodes(urls: dict[str, Any], apart: tuple[float, float]) -> AsyncIterator[list[AgentRuntime]]:
    """Run two nodes with such clocks."""
    one, two = (
        AgentRuntime(**urls, node=name, clock=WrongClock(ahead), config={"lease_seconds": 4.0, "poll_seconds": 0.2})
        for name, ahead in zip(("one", "two"), apart, strict=True)
    )
    async with one, two:
        yield [one, two]


@pytest.mark.parametrize("apart", APART)
def test_a_lock_is_held_by_one_at_a_time(urls: dict[str, Any], apart: tuple[float, float], run: Run) -> None:
    async def main() -> None:
        async with two_nodes(urls, apart) as nodes:
            for node in nodes:
                for level in ("inline", "thread", "process"):
                    name = f"{level}-{node._name}"
                    await node.start_agent(await node.register_agent(name, Locker, isolation=level))
            names = [f"{level}-{name}" for level in ("inline", "thread", "process") for name in ("one", "two")]
            ids = [await nodes[0].submit_task("x", {"hold": 0.05}, agent=name) for name in names * 3]
            ids.append(await nodes[1].submit_task("x", {"hold": 3.0}, agent="inline-one"))  # renewed on the way
            done = await nodes[0].wait_for_tasks(ids, timeout_seconds=60)
            held = sorted(task.output_data for task in done)
            assert [token for token, _, _ in held] == list(range(1, len(ids) + 1))
            assert all(earlier[2] <= later[1] for earlier, later in itertools.pairwise(held))

    run(main)


async def with_listeners(nodes: list[AgentRuntime]) -> list[Slow]:
    """Give each node a listener of its name, and wait until both nodes know both."""
    listeners = [Slow(), Slow()]
    for node, listener in zip(nodes, listeners, strict=True):
        agent_id = await node.register_agent(node._name, listener)
        await node.start_agent(agent_id)
        await until(lambda agent_id=agent_id: all(each._here.env.bus.has(agent_id) for each in nodes))  # type: ignore[misc]
    return listeners


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("apart", APART)
def test_messages_live_as_long_as_they_may(
    urls: dict[str, Any], apart: tuple[float, float], durable: bool, run: Run
) -> None:
    async def main() -> None:
        async with two_nodes(urls, apart) as nodes:
            listeners = await with_listeners(nodes)
            for sender, name, listener in ((nodes[0], "two", listeners[1]), (nodes[1], "one", listeners[0])):

                async def say(n: int, busy: float, ttl: float, sender: Any = sender, name: str = name) -> None:
                    said = {"n": n, "busy": busy}
                    await sender.send_message([name], "say", said, ttl_seconds=ttl, durable=durable)

                await say(1, 0.5, 30.0)
                await until(lambda listener=listener: listener.heard == [1])  # type: ignore[misc]
                await say(2, 0.0, 0.1)  # over before its turn comes
                await say(3, 0.0, 30.0)
                await until(lambda listener=listener: 3 in listener.heard)  # type: ignore[misc]
                assert listener.heard == [1, 3]
            reasons = [letter.reason for letter in nodes[0].store.mail.dead_letters()]
            await until(lambda: len(nodes[0].store.mail.dead_letters()) == 2)
            assert set(reasons) <= {"expired"}

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_questions_have_the_time_that_their_asker_waits(
    urls: dict[str, Any], apart: tuple[float, float], run: Run
) -> None:
    async def main() -> None:
        async with two_nodes(urls, apart) as nodes:
            listeners = await with_listeners(nodes)
            for asker, name, listener in ((nodes[0], "two", listeners[1]), (nodes[1], "one", listeners[0])):
                answer = await asker.request(name, "ask", {"n": 1, "busy": 0.0}, timeout_seconds=10)
                assert answer.data == 1
                busy = asyncio.ensure_future(asker.request(name, "ask", {"n": 2, "busy": 0.5}, timeout_seconds=10))
                await until(lambda listener=listener: listener.heard == [1, 2])  # type: ignore[misc]
                with pytest.raises(ResponseTimeoutError):
                    await asker.request(name, "ask", {"n": 3, "busy": 0.0}, timeout_seconds=0.1)
                answer = await asker.request(name, "ask", {"n": 4, "busy": 0.0}, timeout_seconds=10)
                assert answer.data == 4 and (await busy).data == 2
                assert listener.heard == [1, 2, 4], "nobody waits for the third"
            await nodes[0].services.start(Echo)
            await nodes[1].services.start(Echo, isolation="process")
            for node in nodes:
                await until(lambda node=node: [r.state for r in node.services.records()] == ["running"] * 2)  # type: ignore[misc]
                for record in node.services.records():
                    assert (await node.services.request(record.instance, {"n": 5}))["echo"] == 5

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_delays_are_as_long_as_they_were_said(urls: dict[str, Any], apart: tuple[float, float], run: Run) -> None:
    async def work(task: Task) -> float:
        if task.attempt == 1 and task.input_data.get("fails"):
            raise ValueError("the first time")
        return RealClock().monotonic()

    async def main() -> None:
        async with two_nodes(urls, apart) as (one, two):
            await two.start_agent(await two.register_agent("two", work))
            for given in ({}, {"fails": True}):
                began = RealClock().monotonic()
                task_id = await one.submit_task("x", given, agent="two", delay_seconds=1.0, max_retries=1)
                task = await one.wait_for_task(task_id, timeout_seconds=30)
                assert 1.0 <= task.output_data - began < 10.0

    run(main)


@pytest.mark.parametrize("apart", APART)
def test_who_lives_keeps_its_runs_and_its_name(urls: dict[str, Any], apart: tuple[float, float], run: Run) -> None:
    async def main() -> None:
        async with two_nodes(urls, apart) as nodes:
            for one, two in (nodes, nodes[::-1]):
                stage = Stage()
                handle = one.run(Pipeline([stage], name="p"), "x", run_id=f"of {one._name}")
                await until(lambda stage=stage: stage.calls)  # type: ignore[misc]
                assert list(two.store.runs.unheld(["p"], now=two.store.clock.now())) == []
                stage.may_end.set()
                assert (await handle).content == "x!" and stage.calls == 1
                namesake = AgentRuntime(**urls, node=one._name, clock=two._clock)
                with pytest.raises(ConfigError, match="in use by the live node"):
                    await namesake.start()
            times = [event.timestamp for event in nodes[0].query_events("runtime_started")]
            assert max(times) - min(times) < timedelta(seconds=30)
            assert not nodes[0].query_events("node_lost")

    run(main)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_heartbeat_says_the_right_end_of_a_lease(urls: dict[str, Any], run: Run, step: float) -> None:
    async def main() -> None:
        clock, lease = WrongClock(0.0), 600.0  # no other heartbeat in the time of this test
        async with AgentRuntime(**urls, clock=clock, config={"lease_seconds": lease}) as runtime:
            env = runtime._here.env
            clock.ahead = step
            assert await asyncio.to_thread(renew_lease, env, 0.5, 3)
            (node,) = runtime.store.leases.nodes()
            true = RealClock().now()
            assert env.lease_until is not None and not env.lease_over()
            assert abs(env.lease_until - node.lease_until) < timedelta(milliseconds=50)
            assert lease - 60 < (node.lease_until - true).total_seconds() <= lease + 1
            assert abs((env.clock.now() - true).total_seconds()) < 5 and node.agents == 3

    run(main)
