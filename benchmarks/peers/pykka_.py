"""Pykka: one thread an actor."""

from __future__ import annotations

import gc
import time

import pykka

from benchmarks.common import resident_kb


class Echo(pykka.ThreadingActor):
    """Answers with what it was asked."""

    def on_receive(self, message: int) -> int:
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
