"""The nodes that meet at one server: who is there, by their heartbeats, and a link to each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Mapping

from shoal.bus.bells import Bells, Rang
from shoal.bus.broker import Broker
from shoal.bus.faults import cut_off
from shoal.bus.links import Links
from shoal.bus.member import Member
from shoal.bus.outbox import Outbox
from shoal.bus.owned import OwnedTasks
from shoal.bus.packets import Beat, Bye, written
from shoal.bus.seats import Seats
from shoal.bus.wire import Attach, Detach, Subscribe, Unsubscribe
from shoal.errors import BusError
from shoal.kernel.ports import Clock, Timer

__all__ = ["Members"]

_log = logging.getLogger("shoal.bus")

_BEAT_SECONDS = 0.25
_SUSPECT_SECONDS = 0.35  # silent for longer: the server is asked whether the node is still connected
_SILENT_SECONDS = 5.0  # connected and silent: frozen, or cut off without a word; its loop may be busy for less
_GREETING_SECONDS = 0.5
_QUIET_SECONDS = 0.02
_FLUSH_SECONDS = 1.0
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0  # between attempts to reach the server again
_RETURN_SECONDS = 2.0  # for the others to greet again after an outage, before their agents count as gone
_OUTAGE_SECONDS = 10.0  # an outage that long: nobody of the others counts as there


class Members:
    """The links of one node through a server. ``counts`` says what was lost and made again."""

    def __init__(self, broker: Broker, seats: Seats, bells: Bells, clock: Clock) -> None:
        self.counts: Counter[str] = Counter()
        self._broker = broker
        self._bells = bells
        self._clock = clock
        self._tasks = OwnedTasks()
        self._outbox = Outbox(broker, self.counts)
        self._links = Links(self._outbox, seats, bells, self._tasks, clock, self.hurry)
        self._ended: asyncio.Future[str] | None = None  # of the connection that is there or being made: why it was lost
        self._connected = False
        self._carrying = False
        self._closing = False
        self._writer: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._ticked = 0.0

    @property
    def connections(self) -> Mapping[str, Member]:
        """The accepted links, by node."""
        return self._links.roster.by_node

    async def start(self, node: str) -> None:
        """Connect, and wait shortly for the greetings of who is there. Raises BusError."""
        self._links.node = node
        await self._connect()
        self._writer = self._tasks.start(self._write(), "shoal-bus-write")
        self._tasks.start(self._stay_connected(), "shoal-bus-stay")
        self._ticked = self._clock.monotonic()
        self._tick()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with self._clock.timeout(_GREETING_SECONDS):
                await self._greeted(await self._broker.neighbours())

    async def stop(self) -> None:
        """Send what waits, within a second, and leave."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._outbox.note(None, written(Bye(self._links.session)))
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_FLUSH_SECONDS):
                if self._writer is not None:
                    await asyncio.shield(self._writer)
        await self._tasks.end()
        self._connected = False
        await self._broker.close()
        for member in list(self._links.met.values()):
            self._links.drop(member)

    def find(self, address: str) -> Member | None:
        """Return the link to the node that has attached *address*."""
        return self._links.roster.find(address)

    def tell(self, frame: Attach | Detach | Subscribe | Unsubscribe) -> None:
        """Tell every node of a change here."""
        self._links.tell(frame)

    def ring(self, rings: list[Rang]) -> None:
        """Carry bells to every node that was met; those that cannot be carried are lost."""
        if self._connected and (self._links.met or self._links.roster.by_node):
            self._outbox.ring(rings)

    # -- the desk of the broker

    def heard(self, data: bytes) -> None:
        """Handle what another node sent."""
        self._links.heard(data)

    def wake(self) -> None:
        """Send soon what came of it."""
        self._outbox.wake()

    def rang(self, bell: str, note: str) -> None:
        """Wake the hearers of this node."""
        self._bells.rang_elsewhere([(bell, note)])

    def gone(self, session: str) -> None:
        """Forget a session that is not there."""
        self._links.gone(session)

    def down(self, reason: str) -> None:
        """End what was open on the connection that was lost, and make a new one."""
        if self._ended is None or self._ended.done():
            return
        self._ended.set_result(reason)
        self._connected = False
        self.counts["disconnects"] += 1
        self._outbox.clear()
        self._links.cut(lambda address: cut_off(self._broker.where, reason, address))

    # -- heartbeats

    def _tick(self) -> None:
        now = self._clock.monotonic()
        late, self._ticked = now - self._ticked - _BEAT_SECONDS, now
        if self._connected:
            self._outbox.note(None, written(Beat(self._links.node, self._links.session)))
            self._look_for_silence(now, max(0.0, late))
        self._timer = self._clock.call_later(_BEAT_SECONDS, self._tick)

    def _look_for_silence(self, now: float, late: float) -> None:
        suspects: list[str] = []
        for member in list(self._links.met.values()):
            member.last_heard += late  # this loop was held up: what came meanwhile is not read yet
            silent = now - member.last_heard
            if silent > _SILENT_SECONDS:
                _log.warning("node %s has been silent for %.1f s", member.node or "(unknown)", silent)
                self._links.drop(member)
            elif silent > _SUSPECT_SECONDS:
                suspects.append(member.session)
        if suspects:
            self._tasks.start(self._probe(suspects), "shoal-bus-probe")

    async def _probe(self, sessions: list[str]) -> None:
        for session in sessions:
            try:
                await self._broker.probe(session)
            except ConnectionError as error:
                self.down(str(error))
                return

    # -- the connection

    async def _connect(self) -> None:
        self._links.session = self._clock.new_id()
        self._ended = asyncio.get_running_loop().create_future()
        try:
            await self._broker.connect(self._links.session, self)
        except BaseException:
            self._ended = None
            raise
        self._connected = not self._ended.done()
        self._outbox.note(None, written(Beat(self._links.node, self._links.session)))

    async def _greeted(self, neighbours: int) -> None:
        while len(self._links.roster.by_node) < neighbours:
            await self._clock.sleep(0.001)
        if neighbours:
            await self._clock.sleep(_QUIET_SECONDS)

    async def _stay_connected(self) -> None:
        while self._ended is not None:
            reason = await self._ended
            _log.warning("the connection to %s was lost (%s); it is made again", self._broker.where, reason)
            timer = self._clock.call_later(_OUTAGE_SECONDS, self._links.forget_lost)
            try:
                await self._reconnect()
            finally:
                timer.cancel()
            self._clock.call_later(_RETURN_SECONDS, self._links.forget_lost)

    async def _reconnect(self) -> None:
        wait = _FIRST_WAIT
        while True:
            await self._broker.close()
            await self._clock.sleep(wait * (0.5 + self._clock.random.random()))
            try:
                await self._connect()
            except BusError as error:
                log = _log.warning if wait < _LONGEST_WAIT else _log.debug
                log("%s", error)
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                _log.info("connected to %s again", self._broker.where)
                self.counts["reconnects"] += 1
                return

    async def hurry(self) -> None:
        """Send what is there when it is one small packet, in place of the writer, which would take a turn of the loop."""
        if self._connected and not self._carrying and self._outbox.is_little() and self._broker.is_prompt():
            await self._carry()
        else:
            self._outbox.wake()

    async def _write(self) -> None:
        while True:
            await self._outbox.filled()
            while self._connected and await self._carry():
                pass
            if self._closing:
                return

    async def _carry(self) -> bool:
        """Send what is there; False when there is nothing. One at a time: packets have an order."""
        batch = self._outbox.taken(self._links.session)
        if not batch:
            return False
        self._carrying = True
        try:
            await self._broker.carry(batch)
        except ConnectionError as error:
            self.down(str(error))
        except Exception as error:  # noqa: BLE001 - logged; what it left of the batch is lost like all on the way
            _log.exception("%s: a batch could not be sent", self._broker.where)
            self.down(repr(error))
        finally:
            self._carrying = False
        return True
