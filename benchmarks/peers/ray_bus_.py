"""Ray's actor calls beside the buses. It has no publish: a call is to one actor."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.common import keep_in_flight, run, spread
from benchmarks.peers.ray_ import begin, in_a_room

__all__ = ["talk", "talk_alone"]

TEXT = "x" * 1024


def talk(count: int, lanes: int) -> dict[str, float]:
    """Return what a call of an actor, which is another process, takes, one at a time and with *lanes* at once."""
    return in_a_room("ray_bus_:talk_alone", count=count, lanes=lanes)


def talk_alone(count: int, lanes: int) -> dict[str, float]:
    """See ``talk``, within a room of its own."""
    import ray

    begin(ray)
    try:

        @ray.remote(num_cpus=0)
        class Echo:
            async def ask(self, value: str) -> str:
                return value

        return run(_talk(Echo.remote(), count, lanes))
    finally:
        ray.shutdown()


async def _talk(echo: Any, count: int, lanes: int) -> dict[str, float]:
    seconds = []

    async def ask() -> None:
        begun = time.perf_counter()
        await echo.ask.remote(TEXT)
        seconds.append(time.perf_counter() - begun)

    for _ in range(count + count // 10):
        await ask()
    alone = seconds[count // 10 :]
    many = await keep_in_flight(ask, count, lanes)
    return {**spread(alone), "per_s": len(alone) / sum(alone), "ten_per_s": many}
