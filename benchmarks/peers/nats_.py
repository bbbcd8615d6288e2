"""NATS: request and reply through ``nats-server``, each side in a process of its own, over loopback."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nats

from benchmarks.common import run, spread
from benchmarks.sides import Sides, say, until_alone

TEXT = b"x" * 1024
_ANNOUNCED = "Listening for client connections on "


def talk(count: int, lanes: int) -> dict[str, float]:
    """Return what a request to another process takes, one at a time and with *lanes* pairs at once."""
    with served() as address, Sides(__name__) as sides:
        for number in range(lanes):
            sides.begin("answering", address=address, number=number)
        first = sides.start("asking", address=address, number=0, count=count).told()
        at = time.time() + 3  # all begin at once, however long each takes to begin
        each = {"address": address, "count": 2 * count // lanes, "at": at}
        many = [sides.start("asking", number=number, **each) for number in range(lanes)]
        ends = [side.told()["ended"] for side in many]
    del first["ended"]
    return {**first, "ten_per_s": 2 * count // lanes * lanes / (max(ends) - at)}


@contextmanager
def served() -> Iterator[str]:
    """Run a server, and give its address."""
    server = subprocess.Popen(
        [_program(), "--addr", "127.0.0.1", "--port", "-1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stderr is not None
        found = next(line.partition(_ANNOUNCED)[2].strip() for line in server.stderr if _ANNOUNCED in line)
        yield found if "://" in found else f"nats://{found}"
    finally:
        server.kill()
        server.wait()


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("needs nats-server")
    return found


def answering(address: str, number: int) -> None:
    """Answer with what is asked, until killed."""
    run(_answering(address, number))


async def _answering(address: str, number: int) -> None:
    connection = await nats.connect(address)

    async def answer(message: object) -> None:
        await message.respond(message.data)  # type: ignore[attr-defined]

    await connection.subscribe(f"b-{number}", cb=answer)
    await connection.flush()
    await until_alone()


def asking(address: str, number: int, count: int, at: float = 0) -> None:
    """Ask *count* times, from the time *at* on, and print the times."""
    run(_asking(address, number, count, at))


async def _asking(address: str, number: int, count: int, at: float) -> None:
    connection = await nats.connect(address)
    seconds = []
    for _ in range(count // 10):
        await connection.request(f"b-{number}", TEXT, timeout=10)
    await asyncio.sleep(max(0.0, at - time.time()))
    for _ in range(count):
        begun = time.perf_counter()
        await connection.request(f"b-{number}", TEXT, timeout=10)
        seconds.append(time.perf_counter() - begun)
    say(**spread(seconds), per_s=len(seconds) / sum(seconds), ended=time.time())
    await connection.close()
