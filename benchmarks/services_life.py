"""Services that die: how soon whoever waits hears of it, how soon they are back, and whether a request stays unanswered."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from typing import Any

from benchmarks.common import folder, percentile, run
from benchmarks.killing import HANDLER_SECONDS, INSTANCES, killed
from benchmarks.measurement import Bound, Entry, Measurement

LIFE = {"many": 20, "kills": 20}
DEAD_WITHIN_SECONDS = 1.0
CALLERS = 16


def life(many: int, kills: int) -> dict[str, float]:
    """Start *many* processes; kill *kills* of them, once each, with a request under way."""
    return run(_life(many, kills))


def _worker() -> Any:
    from shoal.services import ServiceAgent

    class Worker(ServiceAgent):
        concurrency = CALLERS

        def info(self) -> dict[str, Any]:
            return {"name": "worker", "capabilities": ["work"], "type": "server"}

        async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
            await asyncio.sleep(payload["seconds"])
            return {"pid": os.getpid()}

    return Worker


async def _life(many: int, kills: int) -> dict[str, float]:
    from benchmarks.ours import runtime
    from shoal.services import AgentDied, AgentProcessManager, RequestError

    with folder() as path:
        async with runtime(path) as here:
            ask, manager = here.services.request, AgentProcessManager(here)
            begun = time.perf_counter()
            names = await manager.start_agent_process(_worker(), count=many)
            started = time.perf_counter() - begun
            told, back = [], []
            for name in names[:kills]:
                before = (await ask(name, {"seconds": 0}))["pid"]
                waiting = asyncio.ensure_future(ask(name, {"seconds": 600}, timeout=600))
                await asyncio.sleep(0.05)
                begun = time.perf_counter()
                os.kill(before, signal.SIGKILL)
                await asyncio.wait([waiting])
                assert isinstance(waiting.exception(), AgentDied)
                told.append(time.perf_counter() - begun)
                while True:
                    try:
                        assert (await ask(name, {"seconds": 0}))["pid"] != before
                        break
                    except RequestError:
                        await asyncio.sleep(0.002)
                back.append(time.perf_counter() - begun)
            return {
                "many_s": started,
                "back_p95_ms": percentile(back, 0.95) * 1e3,
                "told_p95_ms": percentile(told, 0.95) * 1e3,
                "told_max_ms": max(told) * 1e3,
            }


def kills(count: int) -> dict[str, float]:
    """Kill instances *count* times with requests under way; return what became of these."""
    return run(_kills(count))


async def _kills(count: int) -> dict[str, float]:
    from benchmarks.ours import runtime

    with folder() as path:
        async with runtime(path) as here:
            return await killed(await Workers.started(here, INSTANCES), count)


class Workers:
    """Instances that are killed, and come back by themselves."""

    def __init__(self, here: Any, names: list[str]) -> None:
        from shoal.services import LoadBalancer

        self._balancer = LoadBalancer(here.services, breaker=None)  # each request goes out, whatever became of others
        self._pids: dict[str, int] = {}
        self.names = names

    @classmethod
    async def started(cls, here: Any, count: int) -> Workers:
        """Start them."""
        from shoal.services import RestartPolicy

        often = RestartPolicy(max_restarts=1_000_000, initial_seconds=0.02, max_seconds=0.02)
        worker = _worker()
        each = [here.services.start(worker, isolation="process", restart=often) for _ in range(count)]
        workers = cls(here, [record.instance for record in await asyncio.gather(*each)])
        for name in workers.names:
            await workers.back(name)
        return workers

    async def ask(self, name: str) -> object:
        """Ask one for an answer in HANDLER_SECONDS."""
        return (await self._balancer.call(name, {"seconds": HANDLER_SECONDS}, timeout=60)).data

    def kill(self, name: str) -> None:
        """Kill its process."""
        os.kill(self._pids[name], signal.SIGKILL)

    async def back(self, name: str) -> None:
        """Return when another process of it answers."""
        from shoal.services import RequestError

        before = self._pids.get(name)
        while True:
            try:
                pid = (await self._balancer.call(name, {"seconds": 0})).data["pid"]
            except RequestError:
                await asyncio.sleep(0.002)
                continue
            if pid != before:
                self._pids[name] = pid
                return


def random_kills(count: int, instances: int) -> dict[str, float]:
    """Kill at random moments, starts included, while callers ask without a pause; count who waits in silence."""
    return run(_random_kills(count, instances))


async def _random_kills(count: int, instances: int) -> dict[str, float]:
    from benchmarks.ours import runtime
    from shoal.services import AgentDied

    chance, ended, longest, over = random.Random(1), Counter[str](), 0.0, False

    async def caller() -> None:
        nonlocal longest
        while not over:
            begun = time.perf_counter()
            try:
                await workers.ask(chance.choice(workers.names))
                ended["answered"] += 1
            except AgentDied:
                ended["told"] += 1
            took = time.perf_counter() - begun
            longest = max(longest, took)
            ended["unanswered"] += took > DEAD_WITHIN_SECONDS
            await asyncio.sleep(HANDLER_SECONDS)

    with folder() as path:
        async with runtime(path) as here:
            workers = await Workers.started(here, instances)
            callers = [asyncio.create_task(caller()) for _ in range(CALLERS)]
            for _ in range(count):
                await _killed(here, workers.names, chance)
                await asyncio.sleep(chance.random() * 0.02)
            over = True
            await asyncio.gather(*callers)
    return {key: ended[key] for key in ("unanswered", "told", "answered")} | {"longest_ms": longest * 1e3}


async def _killed(here: Any, names: list[str], chance: random.Random) -> None:
    """Kill one that has a process, whatever it is at."""
    while True:
        pid = here.get_agent_status(chance.choice(names)).process_id
        if pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
                return
            except ProcessLookupError:  # it is dead already, and not started again
                pass
        await asyncio.sleep(0.001)


_COUNTED = {
    "unanswered": "without an answer",
    "told": "told of an error",
    "answered": "answered",
    "longest_ms": "ms until the last of these",
}

MEASUREMENTS = (
    Measurement(
        name="services_life",
        what="service: 20 processes started; each killed with kill -9: until who waits hears of it, and until it answers",
        figures={
            "many_s": "20 started, s",
            "told_p95_ms": "p95 ms to the news",
            "told_max_ms": "longest ms to the news",
            "back_p95_ms": "p95 ms to the first answer",
        },
        entries=(
            Entry("shoal", "benchmarks.services_life:life", LIFE, "the default policy: 0.1 s before a restart"),
            Entry("ray", "benchmarks.peers.ray_services_:life", {"many": 20, "kills": 8}, "max_restarts=-1, 8 killed"),
        ),
        bounds=(
            Bound("many_s", "goal", most=3),
            Bound("told_p95_ms", "goal", most=100),
            Bound("told_max_ms", "goal", most=1000),
            Bound("back_p95_ms", "goal", most=500),
            *(Bound(name, "goal", most=1, against="ray") for name in ("many_s", "told_p95_ms", "back_p95_ms")),
        ),
        quick={"many": 3, "kills": 2},
        runs=1,
    ),
    Measurement(
        name="services_kills",
        what="service: an instance killed 100 times in turn, 8 requests each: who has no answer and no error after 5 s",
        figures=_COUNTED,
        entries=(
            Entry("shoal", "benchmarks.services_life:kills", {"count": 100}),
            Entry("ray", "benchmarks.peers.ray_services_:kills", {"count": 100}, "max_restarts=-1"),
            Entry(
                "autogen-core gRPC",
                "benchmarks.peers.autogen_grpc_services_:kills",
                {"count": 100},
                "workers started again by the measurement",
            ),
            Entry("nats", "benchmarks.peers.nats_services_:kills", {"count": 100}, "likewise; a queue group"),
        ),
        bounds=(Bound("unanswered", "floor", most=0),),
        quick={"count": 8},
        runs=1,
        timeout_seconds=400,
    ),
    Measurement(
        name="services_random_kills",
        what="service: 1,000 kills at random moments, starts included, under 16 callers: who waits over 1 s",
        figures=_COUNTED,
        entries=(Entry("shoal", "benchmarks.services_life:random_kills", {"count": 1000, "instances": 8}),),
        bounds=(Bound("unanswered", "floor", most=0), Bound("longest_ms", "floor", most=1000)),
        quick={"count": 20},
        runs=1,
        timeout_seconds=300,
    ),
)
