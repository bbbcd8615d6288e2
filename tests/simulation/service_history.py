"""What happened in a simulation of services, and the promises that it is held against."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shoal.errors import RequestError
from shoal.kernel.ports import Clock
from shoal.services import asking, codes
from shoal.services.info import AgentRecord
from shoal.services.retrying import Outcome
from tests.simulation.service_nodes import LEASE_SECONDS

__all__ = ["Ask", "Begin", "History", "Sending"]

SLACK_SECONDS = 0.5
"""Beyond its time-out a request may take so much virtual time: that of an event loop, and of nothing else."""
DEATH_SECONDS = 1.0
MOMENT = 0.001
REFUSAL_SECONDS = 0.1
NOT_BEGUN = frozenset(
    {codes.NO_WORKERS, codes.NOT_FOUND, codes.CIRCUIT_OPEN, codes.DRAINING, codes.MAILBOX_FULL, codes.NOT_A_SERVER}
)


class Sending:
    """One request on its way to one instance."""

    def __init__(self, number: int, at: float, sender: str, record: AgentRecord, ask_id: str, event: str, attempt: int):
        self.number, self.at, self.sender, self.uuid = number, at, sender, record.uuid
        self.instance = record.instance
        self.ask_id, self.event, self.attempt = ask_id, event, attempt
        self.ended_at: float | None = None
        self.outcome: Outcome | None = None
        self.must_end_by: float | None = None  # whom it is for has died
        self.cut = False  # the connection broke meanwhile

    def __repr__(self) -> str:
        return f"#{self.number} {self.ask_id} attempt {self.attempt} to {self.instance} at {self.at:.3f}"


class Begin:
    """A service has begun with a request. ``ended``: how, when it was not killed before."""

    def __init__(self, at: float, life: int, concurrency: int, header: Any, payload: dict[str, Any]) -> None:
        self.at, self.life, self.concurrency = at, life, concurrency
        self.sender, self.uuid, self.event, self.attempt = (
            header.from_uuid, header.to_uuid, header.event_uuid, header.attempt,
        )  # fmt: skip
        self.ask_id: str = payload["id"]
        self.idempotent: bool = payload["idempotent"]
        self.ended: str | None = None


class Ask:
    """A request as its caller sees it. ``end``: ``answer``, an error's code, ``cancelled`` (by the caller)."""

    def __init__(self, ask_id: str, at: float, timeout: float, target: str, idempotent: bool) -> None:
        self.ask_id, self.at, self.timeout, self.target, self.idempotent = ask_id, at, timeout, target, idempotent
        self.ends: list[str] = []
        self.ended_at = 0.0
        self.answer: dict[str, Any] | None = None
        self.error: RequestError | None = None
        self.alone = False  # its own node was killed: nobody waits for it
        self.again = False  # the service says that it may be sent again


class History:
    """Everything that has happened, in order."""

    def __init__(self, clock: Clock, *, ordered: bool) -> None:
        self.clock = clock
        self.ordered = ordered  # asyncio tasks run in the order in which they are made
        self.asks: dict[str, Ask] = {}
        self.sendings: list[Sending] = []
        self.begins: list[Begin] = []
        self.drained: dict[str, float] = {}  # by uuid: when a drain began that has time enough
        self.refuses: dict[str, float] = {}  # by uuid: when it had said that it drains
        self.interrupted: set[str] = set()  # uuids that died, or whose node did
        self.runtimes: set[str] = set()
        self.held: set[str] = set()  # uuids of those that were paused: they hear late
        self.cuts: set[float] = set()  # when connections broke
        self.late: list[tuple[float, float]] = []  # from when till when answers may come late
        self.wrong: list[str] = []

    def fault(self, text: str) -> None:
        """Note that a promise is broken."""
        self.wrong.append(f"at {self.clock.monotonic():.3f} s: {text}")

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note each request to an instance, and how it ends."""
        plain = asking.ask

        async def ask(send: Any, clock: Any, sender: str, record: AgentRecord, payload: Any, attempt: Any) -> Outcome:
            sending = Sending(
                len(self.sendings), clock.monotonic(), sender, record, payload["id"], attempt.event_uuid, attempt.number
            )
            self.sendings.append(sending)
            try:
                sending.outcome = await plain(send, clock, sender, record, payload, attempt)
                return sending.outcome
            finally:
                sending.ended_at = clock.monotonic()

        asking.ask = ask
        try:
            yield
        finally:
            asking.ask = plain

    def died(self, uuid: str, *, kept: bool) -> None:
        """Note a death: who waits for that instance hears of it, unless its next life answers (*kept*)."""
        self.interrupted.add(uuid)
        for sending in self.sendings:
            if sending.uuid == uuid and sending.ended_at is None and not kept:
                sending.must_end_by = self.clock.monotonic() + DEATH_SECONDS

    def cut(self, *senders: str) -> None:
        """Connections break, or these senders (none: all) end: what is on its way may be lost."""
        if not senders:
            self.cuts.add(self.clock.monotonic())
        for sending in self.sendings:
            if sending.ended_at is None and (not senders or sending.sender in senders):
                sending.cut = True

    # -- what must hold in the end

    def check(self) -> None:
        """Raise AssertionError with every broken promise."""
        self._each_ends_once()
        self._deaths_are_told()
        self._nothing_runs_twice()
        self._what_did_not_begin_did_not()
        self._order_is_kept()
        self._drains_lose_nothing()
        self._nothing_begins_in_vain()
        assert not self.wrong, "\n".join(self.wrong[:20])

    def _each_ends_once(self) -> None:
        begun = Counter(begin.ask_id for begin in self.begins)
        for ask in self.asks.values():
            if ask.alone:
                continue
            if len(ask.ends) != 1:
                self.fault(f"{ask.ask_id} to {ask.target} has the ends {ask.ends}")
            elif ask.ended_at - ask.at > ask.timeout + SLACK_SECONDS:
                self.fault(f"{ask.ask_id} took {ask.ended_at - ask.at:.3f} s of {ask.timeout:g}: {ask.ends}")
            if ask.answer is not None and (ask.answer.get("id") != ask.ask_id or not begun[ask.ask_id]):
                self.fault(f"{ask.ask_id} has the answer of another: {ask.answer}")

    def _deaths_are_told(self) -> None:
        for sending in self.sendings:
            ended_at = 1e9 if sending.ended_at is None else sending.ended_at
            late = sending.sender in self.held or any(
                begin <= ended_at and sending.at <= end for begin, end in self.late
            )
            if sending.must_end_by is not None and ended_at > sending.must_end_by and not late:
                self.fault(f"{sending} heard nothing of the death there until {sending.ended_at}")

    def _nothing_runs_twice(self) -> None:
        runs: dict[tuple[str, str], int] = Counter()
        for begin in self.begins:
            runs[begin.ask_id, begin.event] += 1
        by_ask: dict[str, set[str]] = defaultdict(set)
        for (ask_id, event), count in runs.items():
            by_ask[ask_id].add(event)
            ask = self.asks[ask_id]
            if count > 1 and not (ask.idempotent or ask.again):
                self.fault(f"{ask_id} was run {count} times, and may be run once")
            if count > 3:
                self.fault(f"{ask_id} was run {count} times, with 2 retries")
        for ask_id, events in by_ask.items():
            if len(events) > 1 and not (self.asks[ask_id].idempotent or self.asks[ask_id].again):
                self.fault(f"{ask_id} became {len(events)} requests")

    def _what_did_not_begin_did_not(self) -> None:
        begun = {(begin.event, begin.attempt, begin.uuid) for begin in self.begins}
        for sending in self.sendings:
            outcome = sending.outcome
            key = (sending.event, sending.attempt, sending.uuid)
            if outcome is not None and not outcome.began and key in begun:
                self.fault(f"{sending} was said not to have begun ({outcome.error!r}), and had")
        by_ask = {begin.ask_id for begin in self.begins}
        for ask in self.asks.values():
            one_hop = ask.target not in ("front", "proxy") and not ask.idempotent
            if one_hop and ask.ends and ask.ends[0] in NOT_BEGUN and ask.ask_id in by_ask:
                self.fault(f"{ask.ask_id} ended as {ask.ends[0]}, and has run")

    def _order_is_kept(self) -> None:
        numbers = {(sending.event, sending.attempt, sending.uuid): sending.number for sending in self.sendings}
        last: dict[tuple[str, str], int] = {}
        for begin in self.begins:
            if not self.ordered and (begin.concurrency > 1 or begin.sender not in self.runtimes):
                continue  # such a handler, or question of an agent, has an asyncio task of its own: these are shuffled
            number = numbers.get((begin.event, begin.attempt, begin.uuid))
            if number is None:
                self.fault(f"{begin.ask_id} was run at {begin.uuid}, and not sent there")
                continue
            pair = (begin.sender, begin.uuid)
            if last.get(pair, -1) > number:
                self.fault(f"{begin.ask_id} (#{number}) began after #{last[pair]} of the same pair")
            last[pair] = max(number, last.get(pair, -1))

    def _drains_lose_nothing(self) -> None:
        for sending in self.sendings:
            since = self.drained.get(sending.uuid)
            outcome = sending.outcome
            if since is None or outcome is None or outcome.error is None:
                continue
            if getattr(outcome.error, "reason", "") == "not_running":
                continue  # it never came there
            if sending.cut or sending.at in self.cuts or sending.uuid in self.interrupted:
                continue
            if sending.at < since and not outcome.own and outcome.error.code not in (codes.TIMEOUT, codes.MAILBOX_FULL):
                self.fault(f"{sending} was accepted before the drain at {since:.3f}, and ended as {outcome.error!r}")
            if sending.at >= since and outcome.began and not outcome.own and outcome.error.code != codes.TIMEOUT:
                self.fault(f"{sending} came after the drain at {since:.3f}, and ended as {outcome.error!r}")

    def _nothing_begins_in_vain(self) -> None:
        sent = {(sending.event, sending.attempt, sending.uuid): sending for sending in self.sendings}
        for begin in self.begins:
            sending = sent.get((begin.event, begin.attempt, begin.uuid))
            if sending is None or sending.ended_at is None:
                continue
            # A node that the others have given up hears of it at its next heartbeat; its askers were told before.
            error = None if sending.outcome is None else sending.outcome.error
            given_up = error is not None and (error.details or {}).get("reason") == "node_lost"
            if begin.at > sending.ended_at + (LEASE_SECONDS if given_up else MOMENT):
                self.fault(f"{sending} began at {begin.at:.3f}, and who asked had given up at {sending.ended_at:.3f}")
            if sending.at > self.refuses.get(begin.uuid, sending.at) + REFUSAL_SECONDS:
                self.fault(f"{sending} was taken by one that drained since {self.refuses[begin.uuid]:.3f}")
