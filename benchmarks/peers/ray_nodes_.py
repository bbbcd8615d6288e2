"""Ray's remote tasks and actors beside durable tasks and agents on nodes: nothing of them is on disk."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

from benchmarks.common import folder, percentile, run, spread
from benchmarks.node_rounds import NODES, marked, until_marked
from benchmarks.peers.ray_ import begin, in_a_room
from benchmarks.peers.ray_services_ import Actors

__all__ = ["actors", "actors_alone", "deaths", "deaths_alone", "latency", "latency_alone", "tasks", "tasks_alone"]

IN_FLIGHT = 64


def tasks(count: int) -> dict[str, float]:
    """Return remote tasks a second with one, two and four worker processes."""
    return in_a_room("ray_nodes_:tasks_alone", count=count)


def latency(count: int) -> dict[str, float]:
    """Return percentiles in milliseconds of a remote task."""
    return in_a_room("ray_nodes_:latency_alone", count=count)


def deaths(kills: int) -> dict[str, float]:
    """Return how long it takes until a remote task whose worker was killed begins again."""
    return in_a_room("ray_nodes_:deaths_alone", kills=kills)


def actors(kills: int) -> dict[str, float]:
    """Return how long it takes until an actor whose process was killed answers again."""
    return in_a_room("ray_nodes_:actors_alone", kills=kills)


def tasks_alone(count: int) -> dict[str, float]:
    """See ``tasks``, within a room of its own."""
    import ray

    most = max(NODES.values())
    begin(ray, most)
    try:
        figures = {}
        for word, workers in NODES.items():
            noop = _noop(ray).options(num_cpus=most // workers)  # so that so many run at once
            _per_second(ray, noop, count // 5)
            figures[f"{word}_per_s"] = _per_second(ray, noop, count)
        return figures
    finally:
        ray.shutdown()


def _noop(ray: Any) -> Any:
    @ray.remote(num_cpus=1)
    def noop(n: int) -> dict[str, bool]:
        return {"ok": True}

    return noop


def _per_second(ray: Any, noop: Any, count: int) -> float:
    begun = time.perf_counter()
    waiting: list[Any] = []
    for _ in range(count):
        if len(waiting) == IN_FLIGHT:
            ended, waiting = ray.wait(waiting)
            ray.get(ended)
        waiting.append(noop.remote(1))
    ray.get(waiting)
    return count / (time.perf_counter() - begun)


def latency_alone(count: int) -> dict[str, float]:
    """See ``latency``, within a room of its own."""
    import ray

    begin(ray)
    try:
        noop, seconds = _noop(ray), []
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            ray.get(noop.remote(1))
            seconds.append(time.perf_counter() - begun)
        return spread(seconds[count // 10 :])
    finally:
        ray.shutdown()


def deaths_alone(kills: int) -> dict[str, float]:
    """See ``deaths``, within a room of its own."""
    import ray

    begin(ray)
    try:
        with folder() as path:
            return _deaths(ray, path, kills)
    finally:
        ray.shutdown()


def _deaths(ray: Any, path: Path, kills: int) -> dict[str, float]:
    @ray.remote(num_cpus=1, max_retries=-1)
    def work(file: str) -> None:
        from benchmarks.node_rounds import marks

        again = bool(marks(file))
        marked(file, pid=os.getpid())
        time.sleep(0 if again else 600)

    took = []
    for number in range(kills):
        file = str(path / f"marks-{number}")
        waiting = work.remote(file)
        first = until_marked(file, lambda _: True)["pid"]
        killed = time.monotonic()
        os.kill(first, signal.SIGKILL)
        took.append(until_marked(file, lambda mark, first=first: mark["pid"] != first)["at"] - killed)
        ray.get(waiting)
    return {"p50_s": percentile(took, 0.5), "max_s": max(took)}


def actors_alone(kills: int) -> dict[str, float]:
    """See ``actors``, within a room of its own."""
    import ray

    begin(ray)
    try:

        @ray.remote(num_cpus=0, max_restarts=-1)
        class Counter:
            async def pid(self) -> int:
                return os.getpid()

        return run(_actors(Counter, kills))
    finally:
        ray.shutdown()


async def _actors(actor: Any, kills: int) -> dict[str, float]:
    victims = Actors([actor.remote()])
    await victims.back(0)
    took = []
    for _ in range(kills):
        await asyncio.sleep(0.5)
        killed = time.monotonic()
        victims.kill(0)
        await victims.back(0)
        took.append(time.monotonic() - killed)
    return {"p50_s": percentile(took, 0.5), "max_s": max(took)}
