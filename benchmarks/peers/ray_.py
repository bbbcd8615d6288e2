"""Ray's actors, each a process. Its servers listen on all interfaces, so it runs where there is only loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.child import MARK
from benchmarks.common import proportional_kb, spread

ALONE = ("unshare", "--net", "--map-root-user", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_AUTH_MODE": "disabled"}


def process_agents(count: int, many: int) -> dict[str, float]:
    """Measure starts, answers and memory."""
    return in_a_room("ray_:alone", count=count, many=many)


def talk(count: int, many: int) -> dict[str, float]:
    """Measure an actor that asks another one, and the start of *many*."""
    return in_a_room("ray_:talk_alone", count=count, many=many)


def starts(many: int) -> dict[str, float]:
    """Measure only the start of *many* actors."""
    return {"many_s": talk(100, many)["many_s"]}


def in_a_room(function: str, **given: int) -> dict[str, float]:
    """Measure with a ``module:function`` of the peers in a network namespace of its own, where there is only loopback."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        raise RuntimeError("needs unshare and ip: its servers listen on all interfaces")
    arguments = json.dumps(given)
    ran = subprocess.run(
        [*ALONE, sys.executable, "-m", "benchmarks.child", f"benchmarks.peers.{function}", arguments],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
    )
    for line in ran.stdout.splitlines():
        if line.startswith(MARK):
            return {str(key): float(value) for key, value in json.loads(line.removeprefix(MARK)).items()}
    raise RuntimeError((ran.stderr.strip().splitlines() or ["no output"])[-1])


def alone(count: int, many: int) -> dict[str, float]:
    """Return the times of a start and of an answer, and what one more actor takes."""
    import ray

    begun = time.perf_counter()
    begin(ray)
    try:

        @ray.remote(num_cpus=0)
        class Echo:
            def ask(self, value: int) -> int:
                return value

            def pid(self) -> int:
                return os.getpid()

        return _measure(ray, Echo, begun, count, many)
    finally:
        ray.shutdown()


def begin(ray: Any, workers: int | None = None) -> None:
    """Start a node on loopback, for so many worker processes; by default one for each processor."""
    ray.init(
        num_cpus=workers or os.cpu_count(), include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        configure_logging=False,
    )  # fmt: skip


def talk_alone(count: int, many: int) -> dict[str, float]:
    """Return what 1 KiB from an actor to another one and back takes, and how long *many* actors take to start."""
    import ray

    begin(ray)
    try:

        @ray.remote(num_cpus=0)
        class Echo:
            def ask(self, value: str) -> str:
                return value

        @ray.remote(num_cpus=0)
        class Asker:
            def ask(self, other: Any, count: int) -> list[float]:
                seconds, text = [], "x" * 1024
                for _ in range(count + count // 10):
                    begun = time.perf_counter()
                    ray.get(other.ask.remote(text))
                    seconds.append(time.perf_counter() - begun)
                return seconds[count // 10 :]

        echo, asker = Echo.remote(), Asker.remote()
        seconds: list[float] = ray.get(asker.ask.remote(echo, count))
        begun = time.perf_counter()
        actors = [Echo.remote() for _ in range(many)]
        ray.get([each.ask.remote("") for each in actors])
        up = time.perf_counter() - begun
        return {**spread(seconds), "per_s": len(seconds) / sum(seconds), "many_s": up}
    finally:
        ray.shutdown()


def _measure(ray: Any, actor: Any, begun: float, count: int, many: int) -> dict[str, float]:
    def up(number: int) -> tuple[float, list[Any]]:
        start = time.perf_counter()
        actors = [actor.remote() for _ in range(number)]
        ray.get([each.pid.remote() for each in actors])
        return time.perf_counter() - start, actors

    _, first = up(1)
    cold = time.perf_counter() - begun
    ask: Callable[[int], Any] = first[0].ask.remote
    seconds = []
    for number in range(count + 100):
        start = time.perf_counter()
        ray.get(ask(number))
        seconds.append(time.perf_counter() - start)
    spares = [up(1) for _ in range(os.cpu_count() or 1)]  # uses up the workers that were started ahead
    warm, last = up(1)
    all_up, actors = up(many)
    pids = ray.get([each.pid.remote() for each in actors])
    memory = sum(proportional_kb(pid) for pid in pids) / len(pids) / 1024
    del spares, last
    return {
        "cold_ms": cold * 1e3, "start_ms": warm * 1e3, "many_s": all_up, "each_mb": memory,
        "per_s": count / sum(seconds[100:]), **spread(seconds[100:]),
    }  # fmt: skip
