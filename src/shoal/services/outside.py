"""Agents registered from outside: no node has them, so they live by a lease that they renew over HTTP.

Their records stand in the shared store, each under a key of its own, and are changed by compare-and-set, so that any number
of registries on one store agree, and one that is started again knows them. A lease ends when an observer has seen no renewal
for its length on its own monotonic clock (Gray and Cheriton 1989, without their synchronous clocks): a clock that jumps
ends none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from shoal.errors import (
    NotFound,
    RegistryUnavailableError,
    RequestError,
    StoreError,
    VersionConflictError,
)
from shoal.kernel.event import EventType
from shoal.services import codes
from shoal.services.book import Book
from shoal.services.claims import Claims, taken_by_outsider
from shoal.services.info import AgentInfo, AgentRecord
from shoal.services.outsiders import Change, Outsider, Seen, checked_address, news
from shoal.services.tokens import digest, fits, new_token

if TYPE_CHECKING:
    from shoal.kernel.node import Node
    from shoal.kernel.ports import SharedValue

__all__ = ["Outside"]

log = logging.getLogger("shoal.services")

PREFIX = "shoal.services/agents/"
BELL = "services.outside"
LOOK_SECONDS = 1.0
MOST = 10_000
KEPT = timedelta(days=1)
"""After its lease a record that no registry has swept away goes by itself. Far beyond a clock's jump."""
TRIES = 5


class Outside:
    """The agents registered from outside. Look-ups are answered from a copy at most LOOK_SECONDS old."""

    def __init__(self, node: Node) -> None:
        self._env = env = node.env
        self.claims = Claims(node, self.get)
        self._note = node.post.note
        self.clock = env.clock
        self._book = Book()
        self._mark = 0
        self._looked_at: float | None = None
        self._has_looked = False
        self._sweeping = False
        node.at_end(env.bus.hear(BELL, self._heard))

    def _heard(self, note: str) -> None:
        self._looked_at = None

    def check(self) -> None:
        """Raise unless the runtime runs, on this loop."""
        self._env.check_running()

    # -- looking up

    def _refresh(self) -> None:
        """Take in what has changed in the store; while it cannot be read, what is known serves.

        Raises RegistryUnavailableError: nothing was ever read.
        """
        now = self.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return
        try:
            changes, self._mark = self._env.store.kv.changes(PREFIX, self._mark)
        except StoreError as error:
            if not self._has_looked:
                raise RegistryUnavailableError(f"the store cannot be read: {error}") from error
            self._looked_at = now
            return
        self._looked_at, self._has_looked = now, True
        for change in changes:
            outsider = self._read(change)
            if outsider is None:
                self._book.drop(change.key.removeprefix(PREFIX))
            else:
                self._take(outsider, change.version)

    def _read(self, change: SharedValue) -> Outsider | None:
        """Return what stands there, None when there is nothing, or nothing that could be a record."""
        if change.deleted:
            return None
        try:
            outsider = msgspec.convert(change.value, Outsider)
        except msgspec.ValidationError as error:
            log.warning("%r in the store is no agent's record: %s", change.key, error)
            return None
        if change.key != PREFIX + outsider.uuid or outsider.lease_expires_at + KEPT <= self.clock.now():
            return None
        return outsider

    def _take(self, outsider: Outsider, version: int) -> AgentRecord:
        known = self._book.get(outsider.uuid)
        if known is None or known.version < version:
            known = Seen(outsider, version, self.clock.monotonic())
            self._book.put(known)
        return known.record

    def _living(self, among: Callable[[], Iterator[Seen]] | None = None) -> Iterator[Seen]:
        """Return the living, all or those that *among* returns."""
        now = self.clock.monotonic()
        self._refresh()
        return (seen for seen in (among or self._book.all)() if seen.alive(now))

    def _get(self, address: str) -> Seen | None:
        now = self.clock.monotonic()
        self._refresh()
        seen = self._book.at(address)
        return seen if seen is not None and seen.alive(now) else None

    def records(self) -> list[AgentRecord]:
        """Return all of them, in no order."""
        return [seen.record for seen in self._living()]

    def get(self, address: str) -> AgentRecord | None:
        """Return the one with this id or instance."""
        seen = self._get(address)
        return None if seen is None else seen.record

    def discover(
        self, wanted: frozenset[str], *, type: str | None = None, version: str | None = None, healthy: bool = True
    ) -> list[AgentRecord]:
        """Return those that serve and have all words of *wanted* (in small letters), in no order."""
        return [
            seen.record
            for seen in self._living(lambda: self._book.able(wanted))
            if (type is None or seen.record.type == type)
            and (version is None or seen.record.version == version)
            and seen.serves(healthy=healthy)
        ]

    def callable(self, record: AgentRecord) -> bool:
        """Tell whether this runtime has a way to the address of *record*."""
        return record.address is not None and self._env.bus.has(record.address)

    def find(self, target: str, *, others: bool = False) -> list[AgentRecord]:
        """Return those that a request to *target* (an id, an instance, a service's name) can go to.

        Raises RequestError, unless *others* can be asked: NOT_A_SERVER, or NOT_FOUND: it is only listed.
        """
        one = self.get(target)
        found = [one] if one is not None else [seen.record for seen in self._living(lambda: self._book.named(target))]
        servers = [each for each in found if each.type.answers]
        there = [each for each in servers if self.callable(each)]
        if others or there or not found:
            return there
        if not servers:
            raise RequestError(codes.NOT_A_SERVER, f"{found[0].name} is a client: it answers no requests")
        raise NotFound(f"{found[0].instance} is only listed: this runtime has no way to its address")

    # -- registering

    async def register(self, info: AgentInfo, address: str | None, ttl: float) -> tuple[AgentRecord, str]:
        """Write down an agent; return its record and the token that owns it.

        Raises:
            InfoError: it has no such address.
            AgentNameTakenError: its name, or that of the one that is there, is exclusive.
            RequestError: there are too many.
        """
        self._refresh()
        if len(self._book) >= MOST and sum(1 for _ in self._living()) >= MOST:
            raise RequestError(codes.REGISTRY_UNAVAILABLE, f"the registry has {MOST} agents, and takes no more")
        self.check_free(info)
        token, now = new_token(), self.clock.now()
        outsider = Outsider(
            uuid=self.clock.new_id(),
            info=AgentInfo.of(info.to_data()),
            address=checked_address(address),
            owner=digest(token),
            ttl=ttl,
            registered_at=now,
            renewed_at=now,
        )
        record = await self._write(outsider, 0)
        if info.exclusive:
            try:
                await self.claim(record.name, record.uuid)
            except BaseException:
                seen = self._book.get(record.uuid)
                if seen is not None:
                    await self._env.see_through(self._remove(seen), "a record that was not registered")
                raise
        self._note(news(EventType.SERVICE_JOINED, record))
        return record, token

    def check_free(self, info: AgentInfo) -> None:
        """Raise AgentNameTakenError when an agent from outside has the name, and it or *info* is exclusive."""
        for seen in self._living(lambda: self._book.named(info.name)):
            if info.exclusive or seen.outsider.info.exclusive:
                raise taken_by_outsider(seen.record)
        other = self.get(info.name) if info.exclusive else None
        if (
            other is not None
        ):  # an exclusive service's instance is called as it is: none may be found in another's place
            raise taken_by_outsider(other)

    async def claim(self, name: str, uuid: str) -> None:
        """Have an exclusive name, for whoever is on record already: so who reads the claim finds who has it.

        Raises AgentNameTakenError.
        """
        self._looked_at = None
        await self.claims.take(name, uuid)

    # -- what owners may do

    async def renew(self, uuid: str, token: str | None, change: Change, *, admin: bool = False) -> AgentRecord:
        """Prolong a lease and note what has changed. Raises RequestError: NOT_FOUND (its lease is over), UNAUTHORIZED."""
        told = change.told()
        for _ in range(TRIES):
            seen = self._owned(uuid, token, admin)
            outsider = msgspec.structs.replace(seen.outsider, renewed_at=self.clock.now(), **told)
            with suppress(VersionConflictError):
                record = await self._write(outsider, seen.version)
                if (record.state, record.health) != (seen.record.state, seen.record.health):
                    self._note(news(EventType.SERVICE_CHANGED, record))
                return record
            self._looked_at = None
        raise RequestError(codes.REGISTRY_UNAVAILABLE, "too many change this record at once")

    async def withdraw(self, uuid: str, token: str | None, *, admin: bool = False) -> None:
        """Take an agent out. Raises RequestError as ``renew``."""
        seen = self._owned(uuid, token, admin)
        while not await self._remove(seen):
            seen = self._owned(uuid, token, admin)
        self._note(news(EventType.SERVICE_LEFT, seen.record))

    def _owned(self, uuid: str, token: str | None, admin: bool) -> Seen:
        seen = self._get(uuid)
        if seen is None:
            raise NotFound(f"nobody is called {uuid[:80]!r}, or its lease is over")
        if not (fits(token, seen.outsider.owner) or (admin and token is None)):
            raise RequestError(codes.UNAUTHORIZED, f"the record of {seen.record.instance} belongs to somebody else")
        return seen

    # -- the store

    async def _write(self, outsider: Outsider, expected: int) -> AgentRecord:
        env = self._env
        until = outsider.lease_expires_at + KEPT
        key, value = PREFIX + outsider.uuid, msgspec.to_builtins(outsider)
        version = await env.store.kv.set(
            key, value, now=outsider.renewed_at, expires_at=until, expected=expected, node_id=env.node_id
        )
        record = self._take(outsider, version)
        self._env.bus.ring(BELL)
        return record

    async def _remove(self, seen: Seen) -> bool:
        """Delete a record as it was seen; False when it has changed since."""
        kv, now, node_id = self._env.store.kv, self.clock.now(), self._env.node_id
        try:
            await kv.delete(PREFIX + seen.outsider.uuid, now=now, expected=seen.version, node_id=node_id)
        except VersionConflictError:
            self._looked_at = None
            return False
        self._book.drop(seen.outsider.uuid)
        self._env.bus.ring(BELL)
        if seen.outsider.info.exclusive:
            await self.claims.give_up(seen.record.name, seen.outsider.uuid)
        return True

    def begin_sweeping(self) -> None:
        """Begin to take out those whose leases are over; again does nothing."""
        if not self._sweeping:
            self._sweeping = True
            self._env.every(LOOK_SECONDS, self.sweep, "leases of agents from outside")

    async def sweep(self) -> None:
        """Take out those whose leases are over."""
        now = self.clock.monotonic()
        self._refresh()
        over: Sequence[Seen] = [seen for seen in self._book.all() if not seen.alive(now)]
        for seen in over:
            if await self._remove(seen):
                self._note(news(EventType.SERVICE_LEFT, seen.record))
