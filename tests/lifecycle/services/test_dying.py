"""Requests to an agent that dies, at each step of its life: who asks gets an answer, or hears of the death at once.

Four ask at a time, since each is told in another way: from outside of any agent, an agent of the same node, an agent in a
process of its own, and another node. Who waits is told on several paths, which can stand in for each other in part. Each
case below fails when all of them are removed, and passes with those alone that its comment names. With any one of them
removed some case fails, but for seat, which is there for receivers that have no inbox. When a whole node dies, see
``test_disappearing.py``.

- questions: when a cell is removed, all its open questions fail (``Questions.fail``).
- handler: the handler of a request ends with its code, and refuses it (``handler._refuse``).
- seat: the address is left, and with it all that the bus still waits for there (``Seats.detach``).
- waiting: a cell that is told to stop fails what no handler has begun (``Questions.refuse_waiting``).
- closing: a cell that ends takes nothing more (``Inbox.question``).
- absence: nobody stands behind the address (``Asking.request``, ``Service``).
- link: the connection to the node ends (``Peer.end_open``; only there).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shoal.kernel.agent import RestartPolicy
from shoal.runtime import AgentRuntime
from shoal.services import AgentRecord, LoadBalancer, RequestError, ServiceAgent
from tests.support.runtimes import UNLIMITED, running, until

FAST = RestartPolicy(initial_seconds=0.02, max_restarts=1000, max_seconds=0.1)
LATER = RestartPolicy(initial_seconds=30.0)
NEVER = RestartPolicy(mode="never")
PROMPT = 1.0
LONG = 60.0
CLEAN_UP = 2.5
DIED = "AGENT_DIED"


class Mortal(ServiceAgent):
    """Does what it is told, one at a time."""

    def info(self) -> dict[str, Any]:
        return {"name": "mortal", "capabilities": ["mortal"], "type": "server"}

    async def on_start(self) -> None:
        await asyncio.sleep(self.config.get("start", 0))

    async def on_stop(self) -> None:
        await asyncio.sleep(self.config.get("stop", 0))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.sleep(payload.get("seconds", 0))
        except asyncio.CancelledError:
            await asyncio.sleep(payload.get("clean_up", 0))
            raise
        if "exit" in payload:
            self.send_response(n=payload["n"])
            await asyncio.sleep(payload["exit"])
            os._exit(3)
        return {"n": payload["n"], "text": "x" * payload.get("large", 0)}


class Many(Mortal):
    """Eight at a time."""

    concurrency = 8


class Asker(ServiceAgent):
    """Asks as it is told, and says what came of it."""

    concurrency = 1000

    def info(self) -> dict[str, Any]:
        return {"name": self.config["name"], "capabilities": ["ask"]}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        balancer = LoadBalancer(self, breaker=None)
        return {"said": await outcome(balancer, payload["target"], payload["payload"])}


async def outcome(balancer: LoadBalancer, target: str, payload: dict[str, Any]) -> str:
    """Return ``answered``, or the code of the error."""
    try:
        found = await balancer.call(target, payload, timeout=LONG)
    except RequestError as error:
        return error.code
    assert found.data["n"] == payload["n"], "the answer of somebody else"
    return "answered"


class Stage:
    """A service on one node, and who asks it."""

    def __init__(self, here: AgentRuntime, there: AgentRuntime, record: AgentRecord) -> None:
        self.here = here
        self.there = there
        self.record = record
        self.services = here.services
        self._outside = {name: LoadBalancer(each.services, breaker=None) for name, each in self._nodes().items()}
        self._number = 0

    def _nodes(self) -> dict[str, AgentRuntime]:
        return {"outside": self.here, "node": self.there}

    async def _ask(self, who: str, payload: dict[str, Any]) -> tuple[str, float]:
        if who in self._outside:
            said = await outcome(self._outside[who], self.record.uuid, payload)
        else:
            order = {"target": self.record.uuid, "payload": payload}
            said = (await self.services.request(who, order, timeout=LONG))["said"]
        return said, time.monotonic()

    def ask(self, who: str, **payload: Any) -> asyncio.Task[tuple[str, float]]:
        """Begin to ask."""
        self._number += 1
        return asyncio.create_task(self._ask(who, {"n": self._number, **payload}))

    def all_ask(self, **payload: Any) -> dict[str, asyncio.Task[tuple[str, float]]]:
        """Have everybody ask."""
        return {who: self.ask(who, **payload) for who in ("outside", "agent", "child", "node")}

    async def status(self, **wanted: Any) -> None:
        """Wait until its status is so."""
        async with asyncio.timeout(20):
            while True:
                status = await self.services.control(self.record, "status")
                if all(status[key] == value for key, value in wanted.items()):
                    return
                await asyncio.sleep(0.01)

    @property
    def pid(self) -> int | None:
        cell = self.services.node.post.cells.get(self.record.uuid)
        return None if cell is None else cell.handle.process_id

    def kill(self) -> float:
        """Kill it; return when."""
        assert self.pid is not None
        os.kill(self.pid, signal.SIGKILL)
        return time.monotonic()


@asynccontextmanager
async def stage(url: str, agent: type[ServiceAgent], policy: RestartPolicy, **config: Any) -> AsyncIterator[Stage]:
    async with running(url, limits=UNLIMITED) as here, running(url, limits=UNLIMITED) as there:
        for name, isolation in (("agent", "inline"), ("child", "process")):
            await here.services.start(Asker, {"name": name}, isolation)  # type: ignore[arg-type]
        record = await here.services.start(agent, config, "process", restart=policy)
        while not there.services.directory.get(record.uuid) or not there.services.node.env.bus.has(record.uuid):
            await asyncio.sleep(0.01)
        yield Stage(here, there, record)


async def told(asked: Mapping[str, asyncio.Task[tuple[str, float]]], since: float, *codes: str) -> Counter[str]:
    """Wait until all have heard; everybody of one of these codes, and soon."""
    await asyncio.wait(asked.values(), timeout=PROMPT + 1)
    silent = [who for who, task in asked.items() if not task.done()]
    for task in asked.values():
        task.cancel()
    await asyncio.wait(asked.values())
    said = {who: task.result() for who, task in asked.items() if who not in silent}
    wrong = {who: (code, at - since) for who, (code, at) in said.items() if code not in codes or at - since > PROMPT}
    assert (silent, wrong) == ([], {})
    return Counter(code for code, _ in said.values())


# questions, or handler. Outside and node: seat.
@pytest.mark.spec("S43")
def test_running(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Many, NEVER) as here:
            asked = here.all_ask(seconds=LONG)
            await here.status(in_flight=4)
            await told(asked, here.kill(), DIED)

    run(main)


# questions. Outside and node: seat.
@pytest.mark.spec("S43")
def test_queued(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Mortal, NEVER) as here:
            first = {"first": here.ask("outside", seconds=LONG)}
            await here.status(in_flight=1)
            asked = here.all_ask(seconds=LONG)
            await here.status(queued=4)
            await told(asked | first, here.kill(), DIED)

    run(main)


# questions until the death is seen (outside and node: seat), absence from then on.
@pytest.mark.spec("S43")
def test_before_its_node_has_seen_that_it_is_dead(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Many, LATER) as here:
            killed = here.kill()
            await told(here.all_ask(), killed, DIED)
            await told(here.all_ask(), time.monotonic(), DIED)

    run(main)


# absence while it is away, questions for what it has taken while it started.
@pytest.mark.spec("S43")
def test_restarting_and_killed_while_it_starts(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Mortal, FAST, start=3.0) as here:
            before = here.pid
            killed = here.kill()
            await until(lambda: here.pid is None)
            await told(here.all_ask(), killed, DIED)
            await until(lambda: here.pid not in (None, before))
            asked = here.all_ask()
            await until(lambda: here.services.node.post.cells[here.record.uuid].inbox.parked == 4)
            await told(asked, here.kill(), DIED)

    run(main)


# What it wrote before its end is an answer; the rest as when it runs.
@pytest.mark.spec("S43")
@pytest.mark.long
@pytest.mark.parametrize("way", ["large", "exit"])
def test_replying(store_url: str, run: Any, rounds: Any, seed: int, way: str) -> None:
    chance = random.Random(seed)

    async def main() -> None:
        async with stage(store_url, Many, FAST) as here:
            seen: Counter[str] = Counter()
            for _ in range(rounds(40, 6)):
                before = here.pid
                if way == "exit":
                    asked = here.all_ask(exit=chance.choice((0, 0.002)))
                    await until(lambda: here.pid != before)  # noqa: B023
                    since = time.monotonic()
                else:
                    asked = here.all_ask(large=5_000_000)
                    await asyncio.sleep(chance.random() * 0.15)
                    since = here.kill()
                seen += await told(asked, since, DIED, "answered")
                await until(lambda: here.pid not in (None, before))  # noqa: B023
                await here.status(state="running")
            assert seen["answered"] or way == "large"

    run(main)


# questions. Outside and node: seat.
@pytest.mark.spec("S43")
def test_draining(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Mortal, FAST) as here:
            first = {"first": here.ask("outside", seconds=LONG)}
            await here.status(in_flight=1)
            asked = here.all_ask(seconds=LONG)
            await here.status(queued=4)
            stopping = asyncio.create_task(here.services.stop(here.record.instance, grace=LONG))
            await here.status(state="draining")
            await told(here.all_ask(), time.monotonic(), "DRAINING")
            await told(asked | first, here.kill(), DIED)
            await stopping
            assert here.pid is None, "what drains is not started again"

    run(main)


# questions, which fail here as the door lapses. Outside and node: seat.
@pytest.mark.spec("S43")
def test_paused(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Mortal, NEVER) as here:
            await here.services.control(here.record, "pause")
            asked = here.all_ask()
            await here.status(queued=4)
            await told(asked, here.kill(), DIED)

    run(main)


# waiting: else the queue would hear of it after the clean-up. What runs: questions, or handler.
@pytest.mark.spec("S43")
def test_stopped_while_its_code_cleans_up(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Mortal, NEVER) as here:
            first = here.ask("outside", seconds=LONG, clean_up=CLEAN_UP)
            await here.status(in_flight=1)
            asked = here.all_ask()
            await here.status(queued=4)
            since = time.monotonic()
            stopping = asyncio.create_task(here.services.stop(here.record.instance, grace=0))
            await told(asked, since, DIED)
            assert not stopping.done()
            await stopping
            assert (await first)[0] == DIED

    run(main)


# handler: else they would hear of it after on_stop. closing for who asks meanwhile.
@pytest.mark.spec("S43")
def test_stopped_while_on_stop_runs(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with stage(store_url, Many, NEVER, stop=CLEAN_UP) as here:
            asked = here.all_ask(seconds=LONG)
            await here.status(in_flight=4)
            since = time.monotonic()
            stopping = asyncio.create_task(here.services.stop(here.record.instance, grace=0))
            await told(asked, since, DIED)
            await told(here.all_ask(), time.monotonic(), DIED)
            assert not stopping.done()
            await stopping

    run(main)


@pytest.mark.spec("S43")
def test_killed_at_any_moment(store_url: str, run: Any, seed: int) -> None:
    chance = random.Random(seed)

    async def main() -> None:
        async with stage(store_url, Many, FAST) as here:
            seen: Counter[str] = Counter()
            for _ in range(100):
                asked = {str(n): here.ask(who, seconds=chance.random() * 0.02) for n, who in enumerate(WHO)}
                await asyncio.sleep(chance.random() * 0.06)
                killed = here.kill() if here.pid is not None else time.monotonic()
                later = {f"later {n}": here.ask(who) for n, who in enumerate(WHO)}
                seen += await told(asked | later, killed, DIED, "answered")
                await asyncio.sleep(chance.random() * 0.1)
            assert seen[DIED] > len(seen) and seen["answered"]

    run(main)


WHO = ("outside", "agent", "child", "node") * 2
