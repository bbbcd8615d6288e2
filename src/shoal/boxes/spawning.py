"""Starting children, and taking away what is left of each when it has ended."""

from __future__ import annotations

import asyncio
from typing import Any

from shoal.boxes import wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.launch import Launcher, LaunchOrder, Walls
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.errors import BoxStartError
from shoal.kernel.ports import Clock

__all__ = ["Spawner"]

_MIB = 1 << 20


class Spawner:
    """Makes children of any level. What stood around one is removed after its end, whoever waits for that."""

    def __init__(self, clock: Clock) -> None:
        """Nothing is started yet."""
        self._clock = clock
        self._children: set[ChildProcess] = set()
        self._removals: set[asyncio.Task[None]] = set()

    def spawn(self, launcher: Launcher, spec: BoxSpec, limits: BoxLimits, preload: wire.Preload) -> ChildProcess:
        """Start a child and tell it what to load. Raises BoxStartError; then nothing is left behind."""
        box_id = new_box_id()
        order = LaunchOrder(box_id=box_id, directory=state_directory(box_id), spec=spec, limits=limits)
        max_frame = int(limits.max_message_mb * _MIB) + wire.ROOM
        try:
            walls = launcher.build(order)
        except OSError as error:
            forget_directory(box_id)
            raise BoxStartError(f"no walls: {error}", level=launcher.level, phase="launch") from error
        try:
            child = ChildProcess(walls, launcher.level, max_frame, self._clock)
        except BaseException:
            self._remove(walls, box_id)
            raise
        self._children.add(child)
        child.reaped.add_done_callback(lambda _: self._ended(child, box_id))
        child.channel.send(wire.encode_record(preload))
        return child

    def _ended(self, child: ChildProcess, box_id: str) -> None:
        self._children.discard(child)
        self._remove(child.walls, box_id)

    def _remove(self, walls: Walls, box_id: str) -> None:
        async def remove() -> None:
            await walls.remove()
            forget_directory(box_id)

        removal = asyncio.get_running_loop().create_task(remove())
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def close(self) -> None:
        """End every child that is still there, and wait until nothing of any is left on the machine."""
        for child in self._children:
            child.kill()
        while self._children or self._removals:
            ends: list[asyncio.Future[Any]] = [child.reaped for child in self._children]
            await asyncio.wait([*ends, *self._removals])
