"""Asking one of several instances of a service, and another one when that may help."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec

from shoal.errors import CircuitOpen, RequestError, RequestTimeout
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock
from shoal.kernel.starting import present_clock
from shoal.services import codes
from shoal.services.breaker import CircuitBreaker, Permit
from shoal.services.bulkhead import Bulkhead
from shoal.services.info import AgentRecord
from shoal.services.retrying import Outcome, may_retry, wellness
from shoal.services.strategies import Strategy, Wish, strategy_of
from shoal.services.tally import Reply, Tally, WorkerStats

__all__ = ["Attempt", "Caller", "LoadBalancer", "Reply", "WorkerStats"]

KNOWN = 1000
"""So many instances are remembered; of more, the one known longest is forgotten, unless a request waits there."""


class Attempt(msgspec.Struct, frozen=True):
    """One sending of a request.

    Attributes:
        event_uuid: the request's id, the same in all attempts.
        number: which attempt it is, from 1.
        timeout: seconds that it has.
    """

    event_uuid: str
    number: int
    timeout: float


class Caller(Protocol):
    """The agent to which a balancer belongs, as far as the balancer needs it."""

    request_timeout: float
    """Seconds that a request has when the call does not say it."""

    async def find_instances(self, target: Any) -> Sequence[AgentRecord]:
        """Return the instances that *target* means and that can be asked now; none are none.

        *target* is what ``call`` is given: a service's name, a capability, an address or a record. Raises RequestError
        (NOT_FOUND, NOT_A_SERVER ...) when it means nothing that could be asked, RegistryUnavailableError.
        """
        ...

    async def ask_instance(self, record: AgentRecord, payload: Any, attempt: Attempt) -> Outcome:
        """Send one request to one instance and return how it ended; only what is wrong with the request itself is raised.

        A time-out is an Outcome, too, and so is an instance that is not there any more.
        """
        ...


class LoadBalancer:
    """Chooses among the instances of a service, asks one, and asks another one when the request surely did not run.

    Args:
        agent: whose requests these are.
        strategy: round_robin (the next by name after the last one used), least_loaded, power_of_two, consistent_hash (by
            key; without one, by the payload), random, or a callable ``(records, key) -> record``.
        retries: attempts beyond the first, each on another instance and with the remaining time.
        breaker: makes the circuit breaker of each instance, closed again in its next life; None: none.
        bulkhead: makes the bulkhead of each instance; None: none.
        seed: of what is left to chance; None: the runtime's own.

    Raises:
        ValueError: no such strategy, negative retries.
    """

    def __init__(
        self,
        agent: Caller,
        strategy: str | Strategy = "round_robin",
        *,
        retries: int = 2,
        breaker: Callable[[], CircuitBreaker] | None = CircuitBreaker,
        bulkhead: Callable[[], Bulkhead] | None = None,
        seed: int | None = None,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries must not be negative, not {retries!r}")
        self._agent = agent
        self._retries = retries
        self._breaker = breaker
        self._bulkhead = bulkhead
        self._in_flight: dict[str, int] = {}
        self._tallies: dict[str, Tally] = {}
        seeded = None if seed is None else RealClock(seed)
        self._choose = strategy_of(strategy, self._in_flight, lambda: seeded or present_clock())
        self._by_payload = strategy == "consistent_hash"

    @property
    def stats(self) -> dict[str, WorkerStats]:
        """What each instance was asked, by its name."""
        return {name: tally.stats(self._in_flight.get(name, 0)) for name, tally in self._tallies.items()}

    def pick(
        self,
        records: Sequence[AgentRecord],
        key: Any = None,
        exclude: Collection[str] = (),
        *,
        group: str = "",
    ) -> AgentRecord:
        """Return the instance to ask.

        Args:
            records: those there are.
            key: for ``consistent_hash`` and callables.
            exclude: names of instances that are out of the question.
            group: whose turns these are, when one balancer chooses among several services; ``call`` has its target.

        Raises:
            RequestError: NO_WORKERS, there is none, or all are excluded.
            CircuitOpen: the circuit breakers of all that are left are open.
        """
        excluded: Collection[str] = exclude
        refused = False
        while records:
            record = self._choose(records, Wish(key, excluded, group))
            if record is None:
                break
            tally = self._tallies.get(record.instance)
            if tally is not None:
                tally.meet(record)
            if tally is None or tally.breaker is None or tally.breaker.allows():
                return record
            refused = True
            excluded = {*excluded, record.instance}
        if refused:
            raise CircuitOpen("the circuit breakers of all instances are open")
        raise RequestError(codes.NO_WORKERS, f"no instance is there{f' for {group:.120}' if group else ''}")

    async def call(
        self,
        target: Any,
        payload: Any,
        *,
        timeout: float | None = None,
        key: Any = None,
        idempotent: bool = False,
    ) -> Reply:
        """Send a request and return its answer, from whichever instance gave it.

        Args:
            target: a service's name, a capability, an instance, an id or a record.
            payload: a dict of JSON values.
            timeout: seconds for all attempts together; default: the agent's ``request_timeout``.
            key: equal keys meet the same instance with ``consistent_hash``.
            idempotent: it may be sent again also when it may have run already.

        Raises:
            ValueError: the timeout is not positive.
            RequestError: NO_WORKERS, CIRCUIT_OPEN, or that of the last attempt.
        """
        seconds = self._agent.request_timeout if timeout is None else timeout
        if not seconds > 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        call = _Call(self, present_clock(), payload, seconds)
        call.key = payload if key is None and self._by_payload else key
        call.group = target if isinstance(target, str) else f"capability {getattr(target, 'word', '')}"
        record = self.pick(await self._agent.find_instances(target), call.key, group=call.group)
        while True:
            outcome = await call.ask(record)
            if outcome.error is None:
                return call.reply(record, outcome.data)
            retried = may_retry(outcome, idempotent=idempotent, attempt=call.attempts, retries=self._retries)
            if not retried or call.left() <= 0:
                raise outcome.error
            try:
                other = self.pick(await self._agent.find_instances(target), call.key, call.tried, group=call.group)
            except RequestError:
                raise outcome.error from None  # that there is no other one says less
            self._tally(record).retried += 1
            record = other

    def _tally(self, record: AgentRecord) -> Tally:
        tally = self._tallies.get(record.instance)
        if tally is None:
            if len(self._tallies) >= KNOWN:
                self._forget()
            tally = self._tallies[record.instance] = Tally(
                self._breaker() if self._breaker is not None else None,
                self._bulkhead() if self._bulkhead is not None else None,
            )
        tally.meet(record)
        return tally

    def _forget(self) -> None:
        idle = next((name for name in self._tallies if not self._in_flight.get(name)), None)
        if idle is not None:
            del self._tallies[idle]

    async def _ask(self, record: AgentRecord, payload: Any, attempt: Attempt, clock: Clock) -> Outcome:
        """Make one attempt, within what protects the instance."""
        tally = self._tally(record)
        if tally.bulkhead is None:
            return await self._guarded(record, payload, attempt, clock)
        begun = clock.monotonic()
        try:
            async with clock.timeout(attempt.timeout):
                await tally.bulkhead.__aenter__()
        except TimeoutError:
            return Outcome(error=RequestTimeout("it waited in the bulkhead until its time was over"))
        except RequestError as error:
            return Outcome(error=error)
        try:
            left = attempt.timeout - (clock.monotonic() - begun)
            return await self._guarded(record, payload, msgspec.structs.replace(attempt, timeout=left), clock)
        finally:
            await tally.bulkhead.__aexit__(None, None, None)

    async def _guarded(self, record: AgentRecord, payload: Any, attempt: Attempt, clock: Clock) -> Outcome:
        name, tally = record.instance, self._tally(record)
        permit: Permit | None = None
        if tally.breaker is not None:
            try:
                permit = tally.breaker.enter()
            except CircuitOpen as error:
                return Outcome(error=error)
        tally.requests += 1
        self._in_flight[name] = self._in_flight.get(name, 0) + 1
        begun = clock.monotonic()
        well: bool | None = None
        answered = False
        try:
            outcome = await self._agent.ask_instance(record, payload, attempt)
            well, answered = wellness(outcome), outcome.error is None
        finally:
            if answered:
                tally.answered(clock.monotonic() - begun)
            else:
                tally.failures += 1
            if permit is not None:
                permit.ended(well)
            self._left(name)
        return outcome

    def _left(self, name: str) -> None:
        count = self._in_flight[name] - 1
        if count:
            self._in_flight[name] = count
        else:
            del self._in_flight[name]


class _Call:
    """One call with its attempts."""

    __slots__ = (
        "_balancer",
        "_begun",
        "_clock",
        "_event_uuid",
        "_payload",
        "_seconds",
        "attempts",
        "group",
        "key",
        "tried",
    )

    def __init__(self, balancer: LoadBalancer, clock: Clock, payload: Any, seconds: float) -> None:
        self._balancer = balancer
        self._clock = clock
        self._payload = payload
        self._seconds = seconds
        self._begun = clock.monotonic()
        self._event_uuid = clock.new_id()
        self.key: Any = None
        self.group = ""
        self.attempts = 0
        self.tried: list[str] = []

    def left(self) -> float:
        """Return how many seconds are left."""
        return self._seconds - (self._clock.monotonic() - self._begun)

    async def ask(self, record: AgentRecord) -> Outcome:
        """Make the next attempt."""
        self.attempts += 1
        self.tried.append(record.instance)
        attempt = Attempt(self._event_uuid, self.attempts, self.left())
        return await self._balancer._ask(record, self._payload, attempt, self._clock)

    def reply(self, record: AgentRecord, data: dict[str, Any] | None) -> Reply:
        """Return the answer as ``call`` does."""
        return Reply(data or {}, record, self.attempts, (self._clock.monotonic() - self._begun) * 1000)
