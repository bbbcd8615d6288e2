"""The bus through PostgreSQL: LISTEN and NOTIFY, with one listening connection a node and one that sends."""

from __future__ import annotations

import asyncio
import collections
import logging
import zlib
from typing import Any, NamedTuple

from shoal.bus.bells import Bells
from shoal.bus.broker import BrokerDesk, Outgoing
from shoal.bus.members import Members
from shoal.bus.node import NodeBus
from shoal.bus.owned import OwnedTasks
from shoal.bus.parcels import Postbag, opened
from shoal.bus.places import PostgresPlace
from shoal.bus.postgres_link import CONNECT_SECONDS, ERRORS, connect, refused, text_of
from shoal.bus.seats import Seats
from shoal.kernel.ports import Clock, Wire

__all__ = ["PostgresBroker", "PostgresBus"]

_log = logging.getLogger("shoal.bus")

_DEAF_SECONDS = 5.0  # a node hears its own heartbeats; without them its listening connection is lost
_PACKET_BYTES = 256 * 1024
_FEW = 8  # nodes
_PARCEL_SECONDS = 60  # a parcel that nobody fetched for so long is removed

_CREATE = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE UNLOGGED TABLE IF NOT EXISTS {schema}.bus_parcels (
    parcel_id text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    data bytea NOT NULL
);
"""
_NOTIFY = "SELECT count(pg_notify(c, p)) FROM unnest($1::text[], $2::text[]) AS batch(c, p)"
_PUT = "INSERT INTO {schema}.bus_parcels (parcel_id, data) SELECT * FROM unnest($1::text[], $2::bytea[])"
_GET = "SELECT data FROM {schema}.bus_parcels WHERE parcel_id = $1"
_TAKE = "DELETE FROM {schema}.bus_parcels WHERE parcel_id = $1 RETURNING data"
_CLEAN = "DELETE FROM {schema}.bus_parcels WHERE created_at < now() - $1 * interval '1 second'"
# Each session holds an advisory lock as long as its listening connection lives: so the others see who is there.
_HOLD = "SELECT pg_advisory_lock_shared($1, $2)"
_HELD = """
SELECT count(DISTINCT objid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE datname = current_database() AND locktype = 'advisory' AND objsubid = 2 AND classid = $1::int
"""


class _Word(NamedTuple):
    """A word of a payload: bytes or the id of a parcel, and whether nobody else gets it."""

    text: bytes | str
    only_here: bool


class PostgresBroker:
    """Two connections to a PostgreSQL server, for one schema."""

    def __init__(self, place: PostgresPlace, clock: Clock, wire: Wire) -> None:
        self.where = place.where
        self._wire = wire
        self._place = place
        self._clock = clock
        self._schema = f'"{place.schema}"'
        self._everybody = f"{place.schema}.bus"
        self._all_bells = _bells(place.schema)
        self._class = _key(place.schema)
        self._tasks = OwnedTasks()
        self._sending = asyncio.Lock()
        self._sender: Any = None
        self._listener: Any = None
        self._desk: BrokerDesk | None = None
        self._session = ""
        self._parcels = 0
        self._cleaned = self._last_heard = 0.0
        self._inbox: collections.deque[_Word] = collections.deque()  # not empty: a parcel of it is being fetched

    @property
    def packet_bytes(self) -> int:
        """Return the most bytes of one packet."""
        return _PACKET_BYTES

    def is_prompt(self) -> bool:
        """Say no: a transaction takes its time, in which others join the next one."""
        return False

    async def connect(self, session: str, desk: BrokerDesk) -> None:
        """Connect, and listen to what is sent to *session* and to all."""
        self._session, self._desk = session, desk
        try:
            async with self._clock.timeout(CONNECT_SECONDS):
                self._sender = await self._open(desk)
                await self._create()
                self._listener = await self._open(desk)
                await self._listener.fetchval(_HOLD, self._class, _key(session))
                for channel in (_channel(session), self._everybody):
                    await self._listener.add_listener(channel, self._notified)
                for channel in (_bells(session), self._all_bells):
                    await self._listener.add_listener(channel, self._rung)
                await self._sender.execute(_CLEAN.format(schema=self._schema), _PARCEL_SECONDS)
        except BaseException as error:
            self._terminate()
            if isinstance(error, ERRORS):
                raise refused(self._place, error) from error
            raise
        self._cleaned = self._last_heard = self._clock.monotonic()

    async def neighbours(self) -> int:
        """Return how many other sessions hold their lock."""
        return int(await self._fetch(_HELD, self._class)) - 1

    async def carry(self, batch: list[Outgoing]) -> None:
        """Send the batch in one transaction: notifications come in the order of commits."""
        now = self._clock.monotonic()
        if now - self._last_heard > _DEAF_SECONDS:
            raise ConnectionError("the connection that listens is silent")
        bag = Postbag(batch, self._session, self._parcels)
        self._parcels += len(bag.parcels)
        targets = [self._everybody if target is None else _channel(target) for target in bag.targets]
        if not bag.parcels:
            await self._fetch(_NOTIFY, targets, bag.payloads)
            return
        async with self._sending:
            try:
                async with self._sender.transaction():
                    await self._sender.execute(
                        _PUT.format(schema=self._schema), *map(list, zip(*bag.parcels, strict=True))
                    )
                    await self._sender.fetchval(_NOTIFY, targets, bag.payloads)
            except ERRORS as error:
                raise ConnectionError(text_of(error)) from error
        if now - self._cleaned > _PARCEL_SECONDS:
            self._cleaned = now
            await self._fetch(_CLEAN.format(schema=self._schema), _PARCEL_SECONDS)

    async def probe(self, session: str) -> None:
        """Look whether the session still holds its lock."""
        held = await self._fetch(f"{_HELD} AND objid = $2::int", self._class, _key(session))
        if not held and self._desk is not None:
            self._desk.gone(session)

    async def close(self) -> None:
        """Leave. What was sent has been committed."""
        await self._tasks.end()
        self._inbox.clear()
        sender, listener = self._sender, self._listener
        self._sender = self._listener = None
        open_ones = [each for each in (listener, sender) if each is not None and not each.is_closed()]
        try:
            for connection in open_ones:
                try:
                    await connection.close(timeout=1)
                except ERRORS as error:
                    _log.debug("%s: %s", self.where, text_of(error))
        finally:  # whoever leaves may be cancelled: nobody else knows of them any more
            for connection in open_ones:
                if not connection.is_closed():
                    connection.terminate()

    # -- inside

    async def _open(self, desk: BrokerDesk) -> Any:
        connection = await connect(self._place)

        def lost(_: object) -> None:
            if connection in (self._sender, self._listener):
                desk.down("the server closed it")

        connection.add_termination_listener(lost)
        return connection

    async def _create(self) -> None:
        """Make schema and table when they are not there, one node at a time."""
        schema = self._schema
        if await self._sender.fetchval("SELECT to_regclass($1)", f"{schema}.bus_parcels") is not None:
            return
        async with self._sender.transaction():
            await self._sender.execute("SELECT pg_advisory_xact_lock($1, $2)", self._class, 0)
            await self._sender.execute(_CREATE.format(schema=schema))

    async def _fetch(self, statement: str, *values: object) -> Any:
        async with self._sending:
            if self._sender is None:
                raise ConnectionError("it was closed")
            try:
                return await self._sender.fetchval(statement, *values)
            except ERRORS as error:
                raise ConnectionError(text_of(error)) from error

    def _notified(self, connection: object, pid: int, channel: str, payload: str) -> None:
        self._last_heard = self._clock.monotonic()
        assert self._desk is not None
        try:
            words = opened(payload)
        except ValueError as error:
            _log.warning("%s: something that is none of Shoal's came in: %s", self.where, error)
            return
        for word in words:
            if isinstance(word, bytes) and not self._inbox:
                self._desk.heard(word)
                continue
            self._inbox.append(_Word(word, channel != self._everybody))  # what is behind a parcel waits for its turn
            if len(self._inbox) == 1:
                self._tasks.start(self._empty_inbox(), "shoal-bus-parcels")
        self._desk.wake()

    def _rung(self, connection: object, pid: int, channel: str, payload: str) -> None:
        """Hear of a bell that rang with a commit."""
        self._last_heard = self._clock.monotonic()
        assert self._desk is not None
        try:
            told = self._wire.told(payload)
        except ValueError:
            _log.warning("%s: something that is none of Shoal's came in on the channel %s", self.where, channel)
            return
        if told is not None:
            self._desk.rang(*told)

    async def _empty_inbox(self) -> None:
        assert self._desk is not None
        while self._inbox:
            try:
                data = await self._contents(self._inbox[0])
            except ConnectionError as error:
                self._inbox.clear()
                self._desk.down(str(error))
                return
            self._inbox.popleft()
            if data is not None:
                self._desk.heard(data)
                self._desk.wake()

    async def _contents(self, word: _Word) -> bytes | None:
        if isinstance(word.text, bytes):
            return word.text
        if word.text.startswith(f"{self._session}."):
            return None  # to all, and from this node itself
        statement = _TAKE if word.only_here else _GET
        data: bytes | None = await self._fetch(statement.format(schema=self._schema), word.text)
        return data

    def _terminate(self) -> None:
        sender, listener = self._sender, self._listener
        self._sender = self._listener = None
        for connection in (sender, listener):
            if connection is not None:
                connection.terminate()


class PostgresBus(NodeBus):
    """The bus of ``postgresql://``."""

    def __init__(self, url: str, clock: Clock) -> None:
        """*url* as in :class:`PostgresPlace`."""
        place = PostgresPlace(url)
        wire = Wire(clock.new_id(), self._channels)
        self._schema = place.schema
        self._others: Members | None = None

        def others(seats: Seats, bells: Bells) -> Members:
            self._others = Members(PostgresBroker(place, clock, wire), seats, bells, clock)
            return self._others

        super().__init__(clock, others)
        self.wire: Wire | None = wire

    def _channels(self) -> list[str]:
        """Return where the others hear bells: each on a channel of its own, which wakes nobody else, while they are few."""
        members = [] if self._others is None else list(self._others.connections.values())
        return [_bells(each.session) for each in members] if len(members) <= _FEW else [_bells(self._schema)]


def _bells(session_or_schema: str) -> str:
    return f"bells.{session_or_schema}"


def _channel(session: str) -> str:
    return f"shoal.{session}"


def _key(text: str) -> int:
    """Return the part of an advisory lock's key that stands for a name."""
    return zlib.crc32(text.encode()) >> 1
