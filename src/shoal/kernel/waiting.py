"""Waiting for tasks to end, wherever they run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from shoal.kernel.payload import encode
from shoal.kernel.task import Task

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Waiting", "end_note"]

NOTE_BYTES = 4000
"""The largest task that is told with its end; a larger one is read by those who wait for it."""

PAGE = 100
"""So many tasks are read at once; in between others have their turn."""


def end_note(task_id: str, task: Task | None) -> str:
    """Return the note of the bell ``ended``: the id, and the task as it is stored when it is given and small."""
    if task is None:
        return task_id
    told = encode(task)
    return f"{task_id} {told.decode()}" if len(told) <= NOTE_BYTES else task_id


class Waiting:
    """Who waits for which task. A bell or a sweep brings the end of those that other nodes execute."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._waiters: dict[str, list[asyncio.Future[Task]]] = {}
        self._open: set[str] = set()  # submitted here and, as far as this node knows, not ended: no need to look
        self._heard: list[str] = []  # waited for, and ended on other nodes: they are read together

    def wait(self, task_id: str) -> asyncio.Future[Task]:
        """Return a future that ends with the task in its final status, or with the error of ``close``.

        Raises TaskNotFoundError.
        """
        future: asyncio.Future[Task] = asyncio.get_running_loop().create_future()
        if task_id not in self._open:
            task = self._env.store.tasks.get(task_id)
            if task.done:
                future.set_result(task)
                return future
        waiters = self._waiters.setdefault(task_id, [])
        waiters.append(future)
        future.add_done_callback(lambda _: self._forget(task_id, future))
        return future

    async def submitted(self, tasks: Sequence[Task], stored: Awaitable[list[str]]) -> list[str]:
        """Return the ids of *stored*, the write of *tasks*, whose ends will be heard here: perhaps before that answer."""
        mine = {task.task_id for task in tasks if not task.dependencies}
        self._open |= mine
        ids: list[str] = []
        try:
            ids = await stored
        finally:
            self._open -= mine.difference(ids)
        return ids

    def _forget(self, task_id: str, future: asyncio.Future[Task]) -> None:
        waiters = self._waiters.get(task_id)
        if waiters is not None:
            if future in waiters:
                waiters.remove(future)
            if not waiters:
                del self._waiters[task_id]

    def ended(self, task_id: str, task: Task | None = None) -> None:
        """Tell the waiters that a task has ended; without *task* it is read when somebody waits."""
        self._open.discard(task_id)
        if task_id not in self._waiters:
            return
        if task is not None:
            for future in self._waiters.pop(task_id):
                if not future.done():
                    future.set_result(task)
            return
        if not self._heard:
            self._env.spawn(self._read(), "read what has ended")
        self._heard.append(task_id)

    def heard(self, note: str) -> None:
        """Hear the bell ``ended``."""
        task_id, _, told = note.partition(" ")
        waited_for = told and task_id in self._waiters
        self.ended(task_id, msgspec.json.decode(told, type=Task) if waited_for else None)

    async def _read(self) -> None:
        heard, self._heard = self._heard, []
        await self._find(heard)

    def close(self, why: Callable[[], Exception]) -> None:
        """End all waits, each with an error that *why* makes."""
        for waiters in list(self._waiters.values()):
            for future in waiters:
                if not future.done():
                    future.set_exception(why())
                    future.exception()  # one of many that a caller waits for may be looked at by nobody

    async def look(self) -> None:
        """Look in the store for the end of what is waited for."""
        if self._waiters:
            await self._find(list(self._waiters))

    async def _find(self, task_ids: Sequence[str]) -> None:
        for start in range(0, len(task_ids), PAGE):
            found = await self._env.store.tasks.find(task_ids[start : start + PAGE])
            for task_id, task in found.items():
                if task.done:
                    self.ended(task_id, task)
            await self._env.clock.sleep(0)
