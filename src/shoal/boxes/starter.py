"""Starting children for boxes: at most a few at once, from spares where there are some, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.launch import Launcher
from shoal.boxes.spares import Spares
from shoal.boxes.spawning import Spawner
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.errors import BoxStartError
from shoal.kernel.ports import Clock

__all__ = ["Starter"]

_LOADED = ("shoal_guest.box", "cloudpickle")  # so that a spare guest is warm


class Starter:
    """Gives out children that have said hello, at any level."""

    def __init__(self, clock: Clock, warm: int, import_path: Callable[[str, BoxSpec], tuple[str, ...]]) -> None:
        """Keep *warm* spare children for each launch spec in use. *import_path* tells where a child imports from."""
        self._clock = clock
        self._spawner = Spawner(clock)
        self._warm = warm
        self._import_path = import_path
        self._spares: dict[bytes, Spares] = {}
        self._places = asyncio.Semaphore(2 * (os.cpu_count() or 1))

    async def start(self, launcher: Launcher, spec: BoxSpec, limits: BoxLimits, seconds: float) -> ChildProcess:
        """Return a child that has said hello. Raises BoxStartError, BoxSpecError, IsolationUnavailableError."""
        async with self._places:
            await launcher.prepare(spec)
            child = self._spares_of(launcher, spec, limits).take()
            try:
                await self._greeted(child, launcher.level, seconds)
            except BaseException:
                child.kill()
                raise
        return child

    async def _greeted(self, child: ChildProcess, level: str, seconds: float) -> None:
        try:
            async with self._clock.timeout(seconds):
                either: list[asyncio.Future[Any]] = [child.greeted, child.reaped]
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            raise self._not_up(child, level, f"no hello within {seconds:g} s") from None
        if child.violation is not None or child.hello is None or child.reaped.done():
            code = await asyncio.shield(child.reaped)
            when = "before" if child.hello is None else "right after"
            limit = None if child.walls.holding is None else child.walls.holding.verdict()
            ended = f"it ended with exit code {code} {when} hello{f' ({limit})' if limit else ''}"
            raise self._not_up(child, level, child.violation or ended, code)

    @staticmethod
    def _not_up(child: ChildProcess, level: str, why: str, code: int | None = None) -> BoxStartError:
        return BoxStartError(
            f"a box of level {level} did not come up: {why}",
            level=level,
            phase="hello",
            exit_code=code,
            stderr_tail=child.stderr.tail,
        )

    def _spares_of(self, launcher: Launcher, spec: BoxSpec, limits: BoxLimits) -> Spares:
        key = msgspec.json.encode([launcher.level, spec, limits], enc_hook=str)
        if key not in self._spares:
            self._spares[key] = Spares(self._warm, lambda: self._spawn(launcher, spec, limits), self._clock)
        return self._spares[key]

    def _spawn(self, launcher: Launcher, spec: BoxSpec, limits: BoxLimits) -> ChildProcess:
        preload = wire.Preload(path=self._import_path(launcher.level, spec), load=_LOADED)
        return self._spawner.spawn(launcher, spec, limits, preload)

    async def close(self) -> None:
        """End the spares, and wait until every child has ended and nothing of it is left on the machine."""
        idle = [child for spares in self._spares.values() for child in spares.close()]
        for child in idle:
            child.kill()
        await self._spawner.close()
