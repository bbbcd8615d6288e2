"""Pykka: one thread an actor."""

from __future__ import annotations

import gc
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pykka

from benchmarks.common import resident_kb, spread, timed
from benchmarks.services_requests import CALLERS, INSTANCES, TEXT


class Echo(pykka.ThreadingActor):
    """Answers with what it was asked."""

    def on_receive(self, message: int | str) -> int | str:
        """Return the question."""
        return message


def messages(count: int) -> dict[str, float]:
    """Return questions a second and what one takes."""
    echo = Echo.start()
    try:
        for number in range(count // 10):
            echo.ask(number)
        begun = time.perf_counter()
        for number in range(count):
            echo.ask(number)
        seconds = time.perf_counter() - begun
        return {"per_s": count / seconds, "us": seconds / count * 1e6}
    finally:
        pykka.ActorRegistry.stop_all()


def inside(count: int, alone: int) -> dict[str, float]:
    """Return the rate of CALLERS threads that ask three actors in turn, and what one alone waits."""
    actors = [Echo.start() for _ in range(INSTANCES)]
    turn = itertools.cycle(actors)
    try:
        seconds = timed(lambda: next(turn).ask(TEXT), count // 10 + alone)[count // 10 :]

        def caller(number: int) -> None:
            mine = itertools.islice(itertools.cycle(actors), number, None)
            for _ in range(count // CALLERS):
                next(mine).ask(TEXT)

        begun = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            for each in [callers.submit(caller, number) for number in range(CALLERS)]:
                each.result()
        per_s = count // CALLERS * CALLERS / (time.perf_counter() - begun)
        return {"per_s": per_s, **spread(seconds)}
    finally:
        pykka.ActorRegistry.stop_all()


def memory(count: int) -> dict[str, float]:
    """Return what one actor more takes of resident memory."""
    actors = [Echo.start() for _ in range(100)]
    try:
        gc.collect()
        before = resident_kb()
        actors += [Echo.start() for _ in range(count)]
        gc.collect()
        return {"each_kb": (resident_kb() - before) / count}
    finally:
        pykka.ActorRegistry.stop_all()
