"""Virtual machines for tests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.child import ChildProcess
from shoal.boxes.guest.frames import BLOCK, JSON, blocks, frame
from shoal.boxes.launch import LaunchOrder, Walls
from shoal.boxes.microvm import MicrovmLauncher, microvm_fault
from shoal.boxes.spec import BoxLimits, BoxSpec, Mount
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.boxes.vmcache import PartCache
from shoal.boxes.vmimage import build_image, image_fault
from shoal.errors import IsolationUnavailableError
from shoal.kernel.clock import RealClock

GUEST = Path(__file__).with_name("machine_guest.py")
BOOT_SECONDS = 60.0
ANSWER_SECONDS = 30.0


@cache
def fault() -> str | None:
    """Why no machine can be started here; the kernel is fetched once, into the cache of this user."""
    cache = PartCache()
    found = microvm_fault(cache)
    if found is not None and found == image_fault(cache):
        try:
            build_image(cache)
        except IsolationUnavailableError as error:
            return str(error)
        found = microvm_fault(cache)
    return found


def require_machines() -> None:
    """Skip the test where there can be no machine, or fail it where there must be."""
    found = fault()
    if found is not None and "microvm" in os.environ.get("SHOAL_REQUIRE_LEVELS", "").split(","):
        pytest.fail(found, pytrace=False)
    if found is not None:
        pytest.skip(found)


class Machine:
    """A machine that runs ``machine_guest.py``, and what came from it, in its order."""

    def __init__(self, child: ChildProcess, walls: Walls) -> None:
        self.child = child
        self.walls = walls
        self.said: list[tuple[str, Any]] = []
        self.news = asyncio.Event()
        self.code: int | None = None
        self.boot_seconds = 0.0
        child.owner = self

    def on_frame(self, kind: int, body: bytes) -> None:
        self._heard("block", body[8:]) if kind == BLOCK else self._heard("frame", json.loads(body))

    def on_line(self, stream: str, line: str) -> None:
        self._heard(stream, line)

    def on_exit(self, code: int) -> None:
        self.code = code
        self._heard("exit", code)

    def _heard(self, kind: str, what: Any) -> None:
        self.said.append((kind, what))
        self.news.set()

    def printed(self, stream: str = "stdout") -> str:
        return "".join(what for kind, what in self.said if kind == stream)

    async def next(self, kind: str) -> Any:
        """Return what of that kind is heard next, and forget it with all before it."""
        async with asyncio.timeout(ANSWER_SECONDS):
            while True:
                for place, (found, what) in enumerate(self.said):
                    if found == kind:
                        del self.said[: place + 1]
                        return what
                assert self.code is None or kind == "exit", f"it ended with {self.code}: {self.said}"
                self.news.clear()
                await self.news.wait()

    def post(self, code: str) -> None:
        self.child.channel.send(frame(JSON, json.dumps({"run": code}).encode()))

    async def run(self, code: str) -> Any:
        """Run code in the machine and return what it left in ``value``."""
        self.post(code)
        while True:
            found = await self.next("frame")
            if found["type"] == "done":
                return found["value"]

    async def echo(self, data: bytes) -> bytes:
        """Send bytes to the machine, and return as many that come back."""
        for block in blocks(1, data):
            self.child.channel.send(block)
        found = bytearray()
        while len(found) < len(data):
            found += await self.next("block")
        return bytes(found)

    async def end(self) -> int:
        """Return the exit code."""
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.shield(self.child.reaped)


@contextlib.asynccontextmanager
async def machine(
    limits: BoxLimits | None = None, guest: str = "/tmp/guest.py", early: tuple[str, ...] = (), **spec: Any
) -> AsyncIterator[Machine]:
    """A machine that has said hello, and leaves nothing when it is left; *early* is posted while it boots."""
    mounts = (Mount(GUEST, guest), *spec.pop("mounts", ()))
    asked = BoxSpec(mounts=mounts, **spec)
    launcher = MicrovmLauncher(guest=guest)
    await launcher.prepare(asked)
    box_id = new_box_id()
    order = LaunchOrder(
        box_id=box_id, directory=state_directory(box_id), spec=asked, limits=limits or BoxLimits(memory_mib=256)
    )
    began = time.perf_counter()
    walls = launcher.build(order)
    child = ChildProcess(walls, "microvm", 4 << 20, RealClock())
    found = Machine(child, walls)
    try:
        for code in early:
            found.post(code)
        either: list[asyncio.Future[Any]] = [child.greeted, child.reaped]
        await asyncio.wait(either, timeout=BOOT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        assert child.hello is not None, f"no hello: {child.stderr.tail}"
        found.boot_seconds = time.perf_counter() - began
        yield found
    finally:
        child.kill()
        await asyncio.shield(child.reaped)
        await walls.remove()
        forget_directory(box_id)
