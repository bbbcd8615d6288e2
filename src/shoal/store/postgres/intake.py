"""Where operations go, in the order in which they came: one that comes alone is carried out on the loop, others in groups
by the thread that writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from shoal.errors import StoreError
from shoal.store.postgres.lone import Lone
from shoal.store.sql.operations import Operation, Operations

__all__ = ["Intake"]


class Intake:
    """Takes operations from any thread.

    One that comes while the thread rests waits for the next turn of the loop: whatever comes until then goes to the thread
    with it. While one is carried out alone, others wait for it; while the thread is at work, they go there at once.

    Args:
        operations: what the thread writes.
        lone: carries out one alone.
        failure: makes what whoever waits is told of an error that nobody has foreseen.
    """

    def __init__(self, operations: Operations, lone: Lone, failure: Callable[[Exception], StoreError]) -> None:
        self._operations = operations
        self._lone = lone
        self._failure = failure
        self._guard = threading.Lock()
        self._came: list[Operation[Any]] = []
        self._looks = False  # at what came, in the next turn
        self._alone: asyncio.Task[None] | None = None

    def put(self, operation: Operation[Any]) -> None:
        """Add one behind all that came before it."""
        with self._guard:
            self._came.append(operation)
            # One of another loop is not to wait for this one, which the code of an agent may hold up.
            elsewhere = operation.loop is not self._operations.loop
            if self._alone is None and (elsewhere or len(self._came) > 1 or self._operations.busy()):
                self._pass_on()
                return
            if self._looks:
                return
            self._looks = True
        loop = self._operations.loop
        assert loop is not None
        if operation.loop is loop:
            loop.call_soon(self._look)
        else:
            with suppress(RuntimeError):  # it is closed, and with it the store
                loop.call_soon_threadsafe(self._look)

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
            self._alone = loop.create_task(self._carry_out(first), name="shoal-store-alone")

    def _pass_on(self) -> None:
        for operation in self._came:
            self._operations.put(operation)
        self._came.clear()

    async def _carry_out(self, operation: Operation[Any]) -> None:
        try:
            done = await self._lone.carry_out(operation)
        except Exception as error:  # noqa: BLE001 - those behind it are not to wait for ever
            self._lone.drop()
            told = self._failure(error)
            told.__cause__ = error
            self._operations.deliver([(operation, told, None)], announce=False)
        else:
            if isinstance(done, Operation):
                self._operations.put(done)
            else:
                _, value, announce = done
                self._operations.deliver([(operation, None, value)], announce)
        self._alone = None
        self._look()
