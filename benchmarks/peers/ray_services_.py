"""Ray's actors as services: asked in turn, killed, started again."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from typing import Any

from benchmarks import killing
from benchmarks.common import percentile, run
from benchmarks.peers.ray_ import begin, in_a_room
from benchmarks.services_requests import INSTANCES, TEXT, measured

__all__ = ["between", "between_alone", "kills", "kills_alone", "life", "life_alone"]


def between(count: int, alone: int) -> dict[str, float]:
    """Return the rate of many callers, and what one alone waits."""
    return in_a_room("ray_services_:between_alone", count=count, alone=alone)


def kills(count: int) -> dict[str, float]:
    """Kill actors *count* times with requests under way; return what became of these."""
    return in_a_room("ray_services_:kills_alone", count=count)


def life(many: int, kills: int) -> dict[str, float]:
    """Return how long *many* starts take, when whoever waits hears of a death, and when an actor is back."""
    return in_a_room("ray_services_:life_alone", many=many, kills=kills)


def between_alone(count: int, alone: int) -> dict[str, float]:
    """See ``between``, within a room of its own."""
    ray, actor = _begin()
    try:
        turn = itertools.cycle([actor.remote() for _ in range(INSTANCES)])

        async def ask() -> object:
            return await next(turn).ask.remote(TEXT)

        return run(measured(ask, count, alone))
    finally:
        ray.shutdown()


def _begin() -> tuple[Any, Any]:
    import ray

    begin(ray)

    @ray.remote(num_cpus=0, max_restarts=-1)
    class Echo:
        async def ask(self, value: str) -> str:
            return value

        async def slow(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

        async def pid(self) -> int:
            return os.getpid()

    return ray, Echo


def kills_alone(count: int) -> dict[str, float]:
    """See ``kills``, within a room of its own."""
    ray, actor = _begin()
    try:
        return run(_kills(ray, actor, count))
    finally:
        ray.shutdown()


async def _kills(ray: Any, actor: Any, count: int) -> dict[str, float]:
    victims = Actors([actor.remote() for _ in range(killing.INSTANCES)])
    for name in victims.names:
        await victims.back(name)
    return await killing.killed(victims, count)


class Actors:
    """Actors that are killed, and come back by themselves."""

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._pids: dict[int, int] = {}
        self.names = list(range(len(actors)))

    async def ask(self, name: int) -> object:
        """Ask an actor for an answer in HANDLER_SECONDS."""
        return await self._actors[name].slow.remote(killing.HANDLER_SECONDS)

    async def wait(self, name: int) -> object:
        """Ask an actor for what takes longer than it lives."""
        return await self._actors[name].slow.remote(600)

    def kill(self, name: int) -> None:
        """Kill its process."""
        os.kill(self._pids[name], signal.SIGKILL)

    async def back(self, name: int) -> None:
        """Return when another process of it answers."""
        before = self._pids.get(name)
        while True:
            try:
                pid = await self._actors[name].pid.remote()
            except Exception:
                await asyncio.sleep(0.005)
                continue
            if pid != before:
                self._pids[name] = pid
                return


def life_alone(many: int, kills: int) -> dict[str, float]:
    """See ``life``, within a room of its own."""
    ray, actor = _begin()
    try:
        return run(_life(actor, many, kills))
    finally:
        ray.shutdown()


async def _life(actor: Any, many: int, kills: int) -> dict[str, float]:
    begun = time.perf_counter()
    victims = Actors([actor.remote() for _ in range(many)])
    await asyncio.gather(*(victims.back(name) for name in victims.names))
    started = time.perf_counter() - begun
    told, back = [], []
    for name in victims.names[:kills]:
        waiting = asyncio.ensure_future(victims.wait(name))
        await asyncio.sleep(0.05)
        begun = time.perf_counter()
        victims.kill(name)
        await asyncio.wait([waiting])
        assert waiting.exception() is not None
        told.append(time.perf_counter() - begun)
        await victims.back(name)
        back.append(time.perf_counter() - begun)
    return {
        "many_s": started,
        "back_p95_ms": percentile(back, 0.95) * 1e3,
        "told_p95_ms": percentile(told, 0.95) * 1e3,
        "told_max_ms": max(told) * 1e3,
    }
