"""Where operations go, in the order in which they came: one that comes alone is carried out on the loop, others in groups
by the thread that writes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from shoal.store.postgres.lone import Answered, Lone, Trial
from shoal.store.sql.operations import Operation, Operations

__all__ = ["Intake"]


class Intake:
    """Takes operations from any thread.

    One that comes while the thread rests waits for the next turn of the loop: whatever comes until then goes to the thread
    with it. While one is carried out alone, others of that loop wait for it; those of other loops take it to the thread with
    them, since the code of an agent may hold that loop up. While the thread is at work, all go there at once.

    Args:
        operations: what the thread writes.
        lone: carries out one alone.
    """

    def __init__(self, operations: Operations, lone: Lone) -> None:
        self._operations = operations
        self._lone = lone
        self._guard = threading.Lock()
        self._came: list[Operation[Any]] = []
        self._looks = False  # at what came, in the next turn
        self._alone: asyncio.Task[Answered | None] | None = None
        self._trial: Trial | None = None  # what it carries out, as long as it may

    def put(self, operation: Operation[Any]) -> None:
        """Add one behind all that came before it."""
        loop = self._operations.loop
        with self._guard:
            self._came.append(operation)
            elsewhere = operation.loop is not loop
            if elsewhere:
                self._take_over()
            if elsewhere or (self._alone is None and (len(self._came) > 1 or self._operations.busy())):
                self._pass_on()
                return
            if self._looks:
                return
            self._looks = True
        assert loop is not None
        loop.call_soon(self._look)

    async def end(self) -> None:
        """Return when all that came has gone to the thread, or was carried out; the last connection is closed then."""
        while True:
            self._look()
            if self._alone is None:
                break
            await asyncio.wait([self._alone])
        await self._lone.close()

    def _look(self) -> None:
        loop = self._operations.loop
        with self._guard:
            self._looks = False
            if self._alone is not None:
                return
            first = self._came[0] if len(self._came) == 1 else None
            if first is None or first.loop is not loop or self._operations.busy() or not self._lone.takes(first):
                self._pass_on()
                return
            assert loop is not None
            self._came.clear()
            self._trial = trial = Trial(first)
            self._alone = loop.create_task(self._lone.carry_out(trial), name="shoal-store-alone")
            self._alone.add_done_callback(self._ended)

    def _pass_on(self) -> None:
        for operation in self._came:
            self._operations.put(operation)
        self._came.clear()

    def _take_over(self) -> None:
        """Have the thread carry out what is carried out alone, or find out whether it was."""
        trial, self._trial = self._trial, None
        if trial is not None:
            self._operations.put(self._lone.instead(trial))

    def _ended(self, alone: asyncio.Task[Answered | None]) -> None:
        error = None if alone.cancelled() else alone.exception()
        written = None
        if alone.cancelled() or error is not None:
            self._lone.drop()
        else:
            written = alone.result()
        with self._guard:
            mine = self._trial is not None
            if written is None:
                self._take_over()
            self._trial = self._alone = None
        self._look()
        if error is not None:
            alone.get_loop().call_exception_handler(
                {"message": "an operation could not be carried out alone", "exception": error, "task": alone}
            )
        if mine and written is not None:
            operation, value, announce = written
            self._operations.deliver([(operation, None, value)], announce)
