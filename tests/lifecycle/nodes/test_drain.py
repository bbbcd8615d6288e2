"""A node leaves in order: by a signal, by an order that came by a bell or without one. Nothing is lost or done twice."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, AgentStatus, BaseAgent, TaskSpec
from shoal.client import Client
from shoal.cluster import NatsServer
from shoal.errors import RuntimeStoppingError
from shoal.orchestration import Pipeline
from tests.support.command import said, shoal
from tests.support.engines import fresh_folder
from tests.support.nodes import Fleet, begun
from tests.support.runtimes import until

TASKS = 1000


async def _order(fleet: Fleet, client: Client, how: str, leaving: Any) -> None:
    """Tell the node ``leaving`` to leave."""
    node = next(node for node in client.list_nodes() if node.name == "leaving")
    match how:
        case "signal":
            leaving.signal(signal.SIGTERM)
        case "bell":
            assert await client.drain_node(node.node_id, 20)
        case _:  # nobody rings
            assert await client.store.leases.drain(node.node_id, seconds=20, now=node.started_at)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    """The URL of a store: in a file, or, also where no other test uses servers, in PostgreSQL with NATS beside it."""
    if request.param == "servers":
        request.getfixturevalue("monkeypatch").setenv("SHOAL_TEST_BACKEND", "cluster")
    return str(request.getfixturevalue("store_url"))


@pytest.mark.parametrize(
    ("place", "how"), [("file", "signal"), ("file", "lost bell"), ("servers", "bell")], indirect=["place"]
)
def test_a_drain_in_the_middle_of_many_tasks(place: str, tmp_path: Path, run: Callable[..., Any], how: str) -> None:
    fleet = Fleet(place, tmp_path)
    with fleet.node("leaving", workers=2, pause=0.03) as leaving, fleet.node("staying", workers=2, pause=0.03):

        async def main() -> None:
            async with Client(store=place) as client:
                specs = [TaskSpec(name="work", input_data={"number": n}, capability="work") for n in range(TASKS)]
                ids = await client.submit_tasks(specs)
                await until(lambda: sum(line["node"] == "leaving" for line in fleet.history()) > 100)
                await _order(fleet, client, how, leaving)
                await until(lambda: leaving.process.poll() is not None)
                before = len(fleet.history())
                assert client.query_events("node_draining"), "it is told"
                assert [node.name for node in client.list_nodes()] == ["staying"]
                done = await client.wait_for_tasks(ids, timeout_seconds=90)
                assert {str(task.status) for task in done} == {"completed"}
                assert {task.interruptions for task in done} == {0}  # a claim under way was given back unused
                assert "leaving" not in {line["node"] for line in fleet.history()[before:]}

        run(main)
        assert leaving.process.returncode == 0
        history = fleet.history()
    assert {tuple(set(nodes)) for nodes in begun(history).values()} <= {("leaving",), ("staying",)}
    assert sorted(line["begin"] for line in history if "begin" in line) == list(range(TASKS)), "each began once"
    assert sorted(line["end"] for line in history if "end" in line) == list(range(TASKS)), "each ended once"
    left = [place for place, line in enumerate(history) if line["node"] == "leaving"]
    assert 0 < len(left) < 2 * TASKS, "both took part"


def test_what_is_not_done_in_time_goes_back_and_is_done_elsewhere(
    store_url: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    fleet = Fleet(store_url, tmp_path)
    with fleet.node("leaving", workers=1):

        async def main() -> None:
            async with Client(store=store_url) as client:
                slow = await client.submit_task("work", {"number": 1, "pause": 60}, capability="work")
                await until(lambda: begun(fleet.history()))
                left = shoal(tmp_path, "drain", "leaving", "--grace", "200ms", "--store", store_url)
                assert (left.returncode, left.stdout) == (0, "leaving has left\n"), left.stderr
                task = client.get_task_status(slow)
                assert (task.status, task.interruptions) == ("pending", 0), "it counts as no loss"

        run(main)


def test_a_node_is_told_to_leave_while_nobody_reaches_the_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = NatsServer(fresh_folder())
    asyncio.run(server.start())
    try:
        monkeypatch.setenv("SHOAL_BUS", f"{server.url}/away")
        store = f"sqlite:///{tmp_path}/shoal.db"
        with Fleet(store, tmp_path).node("leaving", workers=1):
            asyncio.run(server.stop())
            left = shoal(tmp_path, "drain", "leaving", "--store", store, variables={"SHOAL_BUS": f"{server.url}/away"})
            assert (left.returncode, left.stdout) == (0, "leaving has left\n"), left.stderr
            (line,) = left.stderr.splitlines()
            assert line.startswith("NATS at ") and line.endswith("; the node hears of it by its next look at the store")
    finally:
        asyncio.run(server.stop())
        shutil.rmtree(server.folder)


def test_a_draining_node_is_shown_and_takes_nothing_new(
    store_url: str, tmp_path: Path, run: Callable[..., Any]
) -> None:
    fleet = Fleet(store_url, tmp_path)
    with fleet.node("leaving", workers=1, service=True) as leaving:

        async def main() -> None:
            async with AgentRuntime(store=store_url) as runtime:
                services = runtime.services
                while not await services.discover("greeting"):
                    await asyncio.sleep(0.01)
                slow = asyncio.create_task(services.request("greeter-leaving", {"pause": 4}))
                work = await runtime.submit_task("work", {"number": 1, "pause": 4}, capability="work")
                await until(lambda: begun(fleet.history()))
                leaving.signal(signal.SIGTERM)
                await until(lambda: any(node.draining is not None for node in runtime.store.leases.nodes()))
                shown = asyncio.to_thread(shoal, tmp_path, "nodes", "--json", "--store", store_url)
                assert {node["name"]: node["status"] for node in said(await shown)}["leaving"] == "draining"
                assert not await services.discover("greeting"), "balancers pass it by"
                late = await runtime.submit_task("work", {"number": 2}, capability="work")
                assert await slow == {"version": "1.0"}, "what was accepted is answered"
                assert (await runtime.wait_for_task(work, timeout_seconds=30)).attempt == 1
                await until(lambda: leaving.process.poll() is not None)
                assert runtime.get_task_status(late).status == "pending"
                assert [node.node_id for node in runtime.store.leases.nodes()] == [runtime.node_id]

        run(main)


class Keeper(BaseAgent):
    """Has something to keep in a pause."""

    kept: Any = None

    async def on_pause(self) -> dict[str, Any]:
        return {"kept": "all"}

    async def on_resume(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]

    async def on_message(self, message: Any) -> Any:
        return {"kept": self.kept}


def test_a_paused_agent_stays_paused_and_nothing_begins(store_url: str, run: Callable[..., Any]) -> None:
    async def main() -> None:
        runtime = AgentRuntime(store=store_url)
        await runtime.start()
        keeper = await runtime.register_agent("keeper", Keeper)
        await runtime.start_agent(keeper)
        await runtime.pause_agent(keeper)
        leaving = asyncio.create_task(runtime.drain(10))
        await until(lambda: runtime._env is not None and runtime._env.draining)
        with pytest.raises(RuntimeStoppingError):
            await runtime.register_agent("late", Keeper)
        await leaving
        async with AgentRuntime(store=store_url) as other:
            assert await other.register_agent("keeper", Keeper) == keeper
            assert other.get_agent_status(keeper).status is AgentStatus.PAUSED
            await other.resume_agent(keeper)
            assert (await other.request("keeper", "what", {})).data == {"kept": "all"}

    run(main)


class Stage:
    """A step of the run that the nodes know as ``stages``."""

    def __init__(self, name: str, done: list[str]) -> None:
        self.name = name
        self._done = done

    async def chat(self, message: str) -> str:
        self._done.append(self.name)
        await asyncio.sleep(0.1)
        return f"{message} {self.name}"


def test_a_run_is_handed_over_between_two_steps(store_url: str, tmp_path: Path, run: Callable[..., Any]) -> None:
    fleet = Fleet(store_url, tmp_path)
    done: list[str] = []
    pipeline = Pipeline([Stage(f"s{number}", done) for number in range(6)], name="stages")
    with fleet.node("one", pattern=True, pause=0.3) as one, fleet.node("two", pattern=True, pause=0.3) as two:

        async def main() -> None:
            async with Client(store=store_url) as client:
                runtime = AgentRuntime(store=store_url)
                await runtime.start()
                handle = runtime.run(pipeline, "go", run_id="long")
                await until(lambda: len(done) == 2)
                await runtime.drain(10)
                with pytest.raises(asyncio.CancelledError):
                    await handle
                assert done == ["s0", "s1"], "the step it was at has ended, and no other has begun"
                await until(lambda: begun(fleet.history()))
                carrier = begun(fleet.history())["s2"][0]
                {"one": one, "two": two}[carrier].signal(signal.SIGTERM)
                await until(lambda: client.runs.get("long").status == "completed")
                found = begun(fleet.history())
                assert {name: len(nodes) for name, nodes in found.items()} == {f"s{n}": 1 for n in range(2, 6)}
                assert {nodes[0] for nodes in found.values()} == {"one", "two"}, "both have carried it"
                assert "s0 s1 s2 s3 s4 s5" in str(client.runs.result("long"))

        run(main)
