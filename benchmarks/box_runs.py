"""What is measured of boxes, at a level: start, talk, many at once, and work beside a program."""

from __future__ import annotations

import asyncio
import gc
import time

from benchmarks.common import percentile, resident_kb, run, spread
from benchmarks.processes import cpu_seconds, descendants, memory_kb

TEXT = "x" * 1024
_BIG = 10 * 1024 * 1024
_IDLE_SECONDS = 10.0
_LISTENERS = 10
_TOGETHER_SECONDS = 4.0


async def _need(level: str) -> None:
    """Raise with what the probe says where the level does not work."""
    from shoal.boxes.probing import probe

    found = (await probe(level))[level]
    if not found.works:
        raise RuntimeError(f"does not work here: {found.reason}")


def start(level: str, count: int) -> dict[str, float]:
    """Return how long ``create_box`` takes until the guest is ready: alone, and with four spare guests."""
    return run(_start(level, count))


async def _start(level: str, count: int) -> dict[str, float]:
    from shoal.boxes import BoxRuntime

    await _need(level)
    figures = {}
    for name, warm in (("cold_ms", 0), ("warm_ms", 4))[: 1 if level == "microvm" else 2]:
        seconds = []
        async with BoxRuntime(level, logs="none", warm=warm) as runtime:
            await runtime.create_box("first")  # the launch spec is in use from here on
            for number in range(count):
                if warm:
                    await asyncio.sleep(0.5)  # the pool is filled between two uses
                begun = time.perf_counter()
                await runtime.create_box(f"box-{number}")
                seconds.append(time.perf_counter() - begun)
                if not warm:
                    await runtime.remove_box(f"box-{number}")
        figures[name] = percentile(seconds, 0.5) * 1e3
    return figures


def talk(level: str, count: int, lanes: int = _LISTENERS) -> dict[str, float]:
    """Return the times of 1 KiB there and back: from the host, and from a box through the host to another box."""
    return run(_talk(level, count, lanes))


async def _talk(level: str, count: int, lanes: int) -> dict[str, float]:
    from shoal.boxes import Box, BoxRuntime

    await _need(level)
    text = TEXT

    def answer(sender: str, data: object) -> object:
        return data

    def asking(box: Box, target: str, number: int, at: float) -> None:
        @box.task
        def ask() -> list[float]:
            import time

            from shoal_guest import send_message

            seconds = []
            for _ in range(number // 10):
                send_message(target, text)
            time.sleep(max(0.0, at - time.time()))
            for _ in range(number):
                begun = time.perf_counter()
                send_message(target, text)
                seconds.append(time.perf_counter() - begun)
            return [time.time(), *seconds]

    async with BoxRuntime(level, logs="none") as runtime:
        pairs = []
        for number in range(lanes):
            pair = [await runtime.create_box(f"{side}-{number}") for side in "ab"]
            pair[1].on_message(answer)
            await pair[1].run()
            pairs.append(pair[0])
        seconds = []
        for _ in range(count + count // 10):
            begun = time.perf_counter()
            await runtime.request("b-0", text)
            seconds.append(time.perf_counter() - begun)
        host = spread(seconds[count // 10 :])

        asking(pairs[0], "b-0", count, 0.0)
        await pairs[0].run()
        await pairs[0].wait()
        one = pairs[0].result[1:]
        await asyncio.gather(*(box.start() for box in pairs))
        at = time.time() + _TOGETHER_SECONDS  # all begin at once, however long each takes to begin
        for number, box in enumerate(pairs):
            asking(box, f"b-{number}", max(1, 2 * count // lanes), at)
        await asyncio.gather(*(box.run() for box in pairs))
        await asyncio.gather(*(box.wait() for box in pairs))
        asked = sum(len(box.result) - 1 for box in pairs)
        all_of_them = asked / (max(box.result[0] for box in pairs) - at)
        return {
            "host_p50_ms": host["p50_ms"], "host_p99_ms": host["p99_ms"],
            **spread(one), "per_s": len(one) / sum(one), "ten_per_s": all_of_them,
        }  # fmt: skip


def publish(level: str, count: int) -> dict[str, float]:
    """Return how long an event to ten boxes takes: until ten mailboxes have it, and until ten handlers have said so."""
    return run(_publish(level, count))


async def _publish(level: str, count: int) -> dict[str, float]:
    from shoal.boxes import BoxRuntime

    await _need(level)

    def told(data: object) -> None:
        from shoal_guest import publish_event

        publish_event("heard", data)

    heard = 0
    bell = asyncio.Event()

    def hear(data: object) -> None:
        nonlocal heard
        heard += 1
        if heard == _LISTENERS:
            bell.set()

    def ask() -> list[float]:
        import time

        from shoal_guest import publish_event

        seconds = []
        for _ in range(count):
            begun = time.perf_counter()
            assert publish_event("quiet", text) == 10
            seconds.append(time.perf_counter() - begun)
            time.sleep(0.002)
        return seconds

    text = TEXT
    async with BoxRuntime(level, logs="none") as runtime:
        runtime.on_event("heard")(hear)
        for number in range(_LISTENERS):
            box = await runtime.create_box(f"listener-{number}")
            box.on_event("news")(told)
            box.on_event("quiet")(lambda data: None)
            await box.run()
        seconds = []
        for _ in range(count + 10):
            heard = 0
            bell.clear()
            begun = time.perf_counter()
            assert await runtime.publish("news", text) == _LISTENERS
            await bell.wait()
            seconds.append(time.perf_counter() - begun)
        publisher = await runtime.create_box("publisher")
        publisher.task(ask)
        await publisher.run()
        await publisher.wait()
        taken = publisher.result[10:]
        return {"taken_p95_ms": percentile(taken, 0.95) * 1e3, "handled_p95_ms": percentile(seconds[10:], 0.95) * 1e3}


def many(level: str, count: int) -> dict[str, float]:
    """Return how fast *count* boxes start, and what each takes while it serves and nobody asks."""
    return run(_many(level, count))


async def _many(level: str, count: int) -> dict[str, float]:
    from shoal.boxes import BoxRuntime

    await _need(level)
    async with BoxRuntime(level, logs="none") as runtime:
        await runtime.create_box("first")
        gc.collect()
        before = resident_kb()
        twenty = min(20, count)
        begun = time.perf_counter()
        await asyncio.gather(*(runtime.create_box(f"box-{number}") for number in range(twenty)))
        first_part = time.perf_counter() - begun
        await asyncio.gather(*(runtime.create_box(f"box-{number}") for number in range(twenty, count)))
        whole = time.perf_counter() - begun
        for number in range(count):
            runtime.boxes[f"box-{number}"].on_message(lambda sender, data: data)
        await asyncio.gather(*(runtime.boxes[f"box-{number}"].run() for number in range(count)))
        await asyncio.sleep(2)
        gc.collect()
        host = (resident_kb() - before) / count
        memory = sum(memory_kb(pid) for pid in descendants()) / (count + 1) / 1024
        spent, begun = cpu_seconds(), time.perf_counter()
        await asyncio.sleep(_IDLE_SECONDS)
        share = (cpu_seconds() - spent) / (time.perf_counter() - begun)
        figures = {
            "per_s": count / whole, "each_mb": memory, "host_kb": host, "idle_percent": share * 100,
        }  # fmt: skip
        return {**figures, "many_s": first_part} if twenty == 20 else figures


def work(level: str, count: int) -> dict[str, float]:
    """Return the times of a large program, of a command, and of the news that a box has died."""
    return run(_work(level, count))


async def _work(level: str, count: int) -> dict[str, float]:
    from shoal.boxes import BoxRuntime

    await _need(level)
    async with BoxRuntime(level, logs="none") as runtime:
        box = await runtime.create_box("box")
        commands = []
        for _ in range(5 * count):
            begun = time.perf_counter()
            assert (await box.exec("true")).exit_code == 0
            commands.append(time.perf_counter() - begun)
        programs = [await _large(box) for _ in range(max(2, count // 4))]
        deaths = [await _death(runtime) for _ in range(count)]
        return {
            "exec_p50_ms": percentile(commands, 0.5) * 1e3, "program_ms": percentile(programs, 0.5) * 1e3,
            "death_p95_ms": percentile(deaths, 0.95) * 1e3,
        }  # fmt: skip


async def _large(box: object) -> float:
    """Return the seconds from ``run`` to ready of a program of 10 MB."""
    import random

    from shoal.boxes import Box

    assert isinstance(box, Box)
    blob = random.Random(1).randbytes(_BIG)
    box.task(lambda: len(blob))
    await box.start()
    begun = time.perf_counter()
    await box.run()
    seconds = time.perf_counter() - begun
    await box.wait()
    assert box.result == _BIG
    return seconds


async def _death(runtime: object) -> float:
    """Return the seconds from a question to the news that the box has died of it."""
    from shoal.boxes import BoxRuntime
    from shoal.errors import DeadAgentError

    assert isinstance(runtime, BoxRuntime)

    def die(sender: str, data: object) -> None:
        import os

        os._exit(3)

    box = await runtime.create_box("mortal")
    box.on_message(die)
    await box.run()
    begun = time.perf_counter()
    try:
        await runtime.request("mortal", None)
    except DeadAgentError:
        seconds = time.perf_counter() - begun
    await runtime.remove_box("mortal")
    return seconds
