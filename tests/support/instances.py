"""Instances of a service without a runtime: records, and a caller whose instances answer in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from shoal.errors import RequestError, RequestTimeout
from shoal.kernel.ambient import current_ambient
from shoal.kernel.ports import Clock
from shoal.services import codes
from shoal.services.balancer import Attempt
from shoal.services.info import AgentRecord
from shoal.services.retrying import Outcome
from shoal.testing.clock import VirtualClock, run_virtual

__all__ = ["Crowd", "Instance", "in_virtual_time", "record", "records"]

T = TypeVar("T")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(instance: str, *, name: str = "worker", load: float = 0.0) -> AgentRecord:
    """Return the record of one instance."""
    return AgentRecord(
        uuid=f"uuid of {instance}", name=name, instance=instance, load=load, registered_at=NOW, last_seen=NOW
    )


def records(*names: str) -> list[AgentRecord]:
    """Return records of instances with these names."""
    return [record(name) for name in names]


class _Ambient:
    """What the clock is found by."""

    def __init__(self, clock: Clock) -> None:
        self.shared: dict[str, Any] = {}
        self.clock = clock

    def call(self, verb: str, args: Any) -> Any:
        raise AssertionError(f"{verb!r} is not for this test")


def in_virtual_time(
    main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, seed: int = 0, shuffle: bool = False
) -> T:
    """Run ``main(clock)`` in virtual time; code that asks for the clock of its runtime finds this one."""

    async def around(clock: VirtualClock) -> T:
        current_ambient.set(_Ambient(clock))
        return await main(clock)

    return run_virtual(around, seed=seed, shuffle=shuffle)


class Instance:
    """One instance: answers each request after *seconds*, *concurrency* at a time.

    ``fails`` is asked before each request; what it returns is how the request ends.
    """

    def __init__(self, name: str, seconds: float = 0.01, concurrency: int = 1) -> None:
        self.name = name
        self.seconds = seconds
        self.begun = 0
        self.fails: Callable[[], Outcome | None] = lambda: None
        self.delayed_failure: Outcome | None = None
        self.waiting_or_running = 0
        self._concurrency = concurrency
        self._places = asyncio.Semaphore(concurrency)

    @property
    def record(self) -> AgentRecord:
        """Its record, with the load as it is now."""
        return record(self.name, load=self.waiting_or_running / self._concurrency)

    async def answer(self, payload: Any, attempt: Attempt, clock: Clock) -> Outcome:
        """Answer one request."""
        if (refusal := self.fails()) is not None:
            return refusal
        self.waiting_or_running += 1
        try:
            async with clock.timeout(attempt.timeout), self._places:
                self.begun += 1
                await clock.sleep(self.seconds)
        except TimeoutError:
            return Outcome(error=RequestTimeout("late"), began=True)
        finally:
            self.waiting_or_running -= 1
        if self.delayed_failure is not None:
            return self.delayed_failure
        return Outcome(data={"echo": payload, "by": self.name})


class Crowd:
    """The caller: an agent that finds these instances. ``attempts`` are those made, with the instance asked."""

    request_timeout = 30.0

    def __init__(self, clock: Clock, *instances: Instance, reports_load: bool = True) -> None:
        self.clock = clock
        self.instances = {instance.name: instance for instance in instances}
        self.reports_load = reports_load
        self.attempts: list[tuple[str, Attempt]] = []

    @property
    def asked(self) -> Counter[str]:
        """How often each was asked."""
        return Counter(name for name, _ in self.attempts)

    async def find_instances(self, target: Any) -> Sequence[AgentRecord]:
        """Return all of them."""
        if self.reports_load:
            return [instance.record for instance in self.instances.values()]
        return [record(name) for name in self.instances]

    async def ask_instance(self, record: AgentRecord, payload: Any, attempt: Attempt) -> Outcome:
        """Ask one."""
        self.attempts.append((record.instance, attempt))
        instance = self.instances.get(record.instance)
        if instance is None:
            return Outcome(error=RequestError(codes.NOT_FOUND, "it has left"))
        return await instance.answer(payload, attempt, self.clock)
