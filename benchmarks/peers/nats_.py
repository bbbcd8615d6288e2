"""NATS: request and reply through ``nats-server``, each side in a process of its own, over loopback."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nats

from benchmarks.common import run, spread

TEXT = b"x" * 1024
_ANNOUNCED = "Listening for client connections on "


def talk(count: int, lanes: int) -> dict[str, float]:
    """Return what a request to another process takes, one at a time and with *lanes* pairs at once."""
    server = subprocess.Popen(
        [_program(), "--addr", "127.0.0.1", "--port", "-1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert server.stderr is not None
    address = next(line.partition(_ANNOUNCED)[2].strip() for line in server.stderr if _ANNOUNCED in line)
    started = [server]
    try:
        for number in range(lanes):
            started.append(_side("answering", address=address, number=number))
            _told(started[-1])
        first = _told(_side("asking", address=address, number=0, count=count))
        at = time.time() + 3  # all begin at once, however long each takes to begin
        many = [
            _side("asking", address=address, number=number, count=2 * count // lanes, at=at) for number in range(lanes)
        ]
        ends = [_told(each)["ended"] for each in many]
    finally:
        for each in reversed(started):
            each.kill()
            each.wait()
    del first["ended"]
    return {**first, "ten_per_s": 2 * count // lanes * lanes / (max(ends) - at)}


def _program() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise RuntimeError("needs nats-server")
    return found


def _side(name: str, **arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"from benchmarks.peers.nats_ import {name}; {name}(**{arguments!r})"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _told(side: subprocess.Popen[str]) -> dict[str, float]:
    assert side.stdout is not None
    return dict(json.loads(side.stdout.readline()))


def answering(address: str, number: int) -> None:
    """Answer with what is asked, until killed."""
    run(_answering(address, number))


async def _answering(address: str, number: int) -> None:
    connection = await nats.connect(f"nats://{address}")

    async def answer(message: object) -> None:
        await message.respond(message.data)  # type: ignore[attr-defined]

    await connection.subscribe(f"b-{number}", cb=answer)
    await connection.flush()
    print("{}", flush=True)
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody could set an event
        await asyncio.sleep(1)


def asking(address: str, number: int, count: int, at: float = 0) -> None:
    """Ask *count* times, from the time *at* on, and print the times."""
    run(_asking(address, number, count, at))


async def _asking(address: str, number: int, count: int, at: float) -> None:
    connection = await nats.connect(f"nats://{address}")
    seconds = []
    for _ in range(count // 10):
        await connection.request(f"b-{number}", TEXT, timeout=10)
    await asyncio.sleep(max(0.0, at - time.time()))
    for _ in range(count):
        begun = time.perf_counter()
        await connection.request(f"b-{number}", TEXT, timeout=10)
        seconds.append(time.perf_counter() - begun)
    figures = {**spread(seconds), "per_s": len(seconds) / sum(seconds), "ended": time.time()}
    print(json.dumps(figures), flush=True)
    await connection.close()
