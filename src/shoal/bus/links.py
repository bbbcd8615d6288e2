"""The links of one node through a server: greetings, packets, and who has gone."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

from shoal.bus.bells import Bells
from shoal.bus.faults import node_lost
from shoal.bus.member import Member
from shoal.bus.outbox import Outbox
from shoal.bus.owned import OwnedTasks
from shoal.bus.packets import Beat, Bye, Packet, Reset, Rung, read, written
from shoal.bus.roster import Roster
from shoal.bus.seats import Seats
from shoal.bus.service import Service
from shoal.bus.wire import Attach, Count, Detach, Frame, Hello, Reply, Subscribe, Unsubscribe
from shoal.errors import DeadAgentError, ProtocolError
from shoal.kernel.ports import Clock

__all__ = ["Links"]

_log = logging.getLogger("shoal.bus")


class Links:
    """One link to each session of another node that was heard of. It is the desk of what comes in and of its members."""

    def __init__(
        self,
        outbox: Outbox,
        seats: Seats,
        bells: Bells,
        tasks: OwnedTasks,
        clock: Clock,
        hurry: Callable[[], Awaitable[None]],
    ) -> None:
        """*hurry* sends what is in the outbox when that is little and needs no waiting."""
        self.node = self.session = ""
        self.met: dict[str, Member] = {}  # by session, accepted or not
        self.roster: Roster[Member] = Roster(Service(seats, bells, tasks))
        self.counts: Counter[str] = outbox.counts
        self._outbox = outbox
        self._seats = seats
        self._bells = bells
        self._clock = clock
        self._hurry = hurry
        self._hearing = False
        self._numbers = itertools.count(1)

    def tell(self, frame: Attach | Detach | Subscribe | Unsubscribe) -> None:
        """Tell every node of a change here."""
        for member in list(self.met.values()):
            member.tell(frame)

    def cut(self, error: Callable[[str], DeadAgentError]) -> None:
        """End what is open on all links; who sits there is kept for those that greet again."""
        met, self.met = self.met, {}
        for member in met.values():
            member.lost(error)

    def forget_lost(self) -> None:
        """Forget the nodes whose link has ended and was not made again."""
        for member in list(self.roster.by_node.values()):
            if member.is_lost:
                self.roster.left(member)

    def drop(self, member: Member) -> None:
        """End a link, and forget what it led to."""
        if self.met.get(member.session) is member:
            del self.met[member.session]
        member.lost(lambda address: node_lost(member.node, address))
        self.roster.left(member)

    # -- what comes in

    def heard(self, data: bytes) -> None:
        """Handle what another node sent; what comes of it waits to be hurried or woken."""
        if not data:
            return  # a probe
        self._hearing = True
        try:
            self._note(data)
        finally:
            self._hearing = False

    def _note(self, data: bytes) -> None:
        try:
            note = read(data)
        except ProtocolError as error:
            self._told_once("refused", "something that is none of Shoal's came in: %s", error)
            return
        match note:
            case Packet():
                self._packet(note)
            case Beat():
                self._beat(note)
            case Rung(session, rings):
                if session != self.session:
                    self._bells.rang_elsewhere(rings)
            case Bye(session):
                self.gone(session)
            case Reset(session, link):
                member = self.met.get(session)
                if member is not None and member.link == link:
                    self.counts["links_reset"] += 1
                    self.drop(member)

    def gone(self, session: str) -> None:
        """Forget a session that is not there."""
        if (member := self.met.get(session)) is not None:
            self.drop(member)

    # -- the desk of the members

    def dirty(self, member: Member, *, wake: bool = True) -> None:
        """Send what the member has, with all else of this turn."""
        self._outbox.member(member)
        if wake and not self._hearing:
            self._outbox.wake()

    def wake(self) -> None:
        """Send soon what is there."""
        self._outbox.wake()

    async def hurry(self) -> None:
        """Send at once when that is little and needs no waiting."""
        await self._hurry()

    def broken(self, member: Member) -> None:
        """End the link and tell the other side, which begins it anew."""
        if self.met.get(member.session) is member:
            self.counts["links_broken"] += 1
            _log.warning("the link to node %s is broken and begins anew", member.node or "(unknown)")
            if member.theirs is not None:
                self._outbox.note(member.session, written(Reset(self.session, member.theirs)))
            self.drop(member)

    # -- links

    def _meet(self, session: str) -> Member:
        member = self.met[session] = Member(session, next(self._numbers), self, self._clock.monotonic())
        member.greeted = True
        member.tell(Hello(self.node, self.session, list(self._seats.by_address), self._seats.topics.pairs()))
        return member

    def _beat(self, beat: Beat) -> None:
        if beat.session == self.session:
            return
        member = self.met.get(beat.session)
        if member is not None:
            member.last_heard = self._clock.monotonic()
            return
        if beat.node == self.node:
            self._told_once("same_node", "another node calls itself %s", self.node)
            return
        known = self.roster.by_node.get(beat.node)
        if known is None or known.is_lost or known.session < beat.session:  # sessions that begin later sort later
            self._meet(beat.session)

    def _packet(self, packet: Packet) -> None:
        member = self.met.get(packet.session)
        if packet.number == 0 and member is not None and member.theirs not in (None, packet.link):
            self.drop(member)  # the other side began the link anew
            member = None
        if packet.number == 0 and member is None:
            member = self._meet(packet.session)
        if member is None or not member.fits(packet):
            self._refuse(packet, member)
            return
        member.last_heard = self._clock.monotonic()
        try:
            for frame in member.feed(packet):
                if member.is_lost:
                    return
                self._frame(member, frame)
        except ProtocolError as error:
            _log.warning("node %s: %s", member.node or "(unknown)", error)
            self.broken(member)

    def _refuse(self, packet: Packet, member: Member | None) -> None:
        if member is not None and member.theirs == packet.link:
            self.broken(member)
        else:
            self._outbox.note(packet.session, written(Reset(self.session, packet.link)))

    def _frame(self, member: Member, frame: Frame) -> None:
        if isinstance(frame, Reply | Count):
            member.answered(frame)
        elif member.node:
            self.roster.heard(member, frame)
        elif isinstance(frame, Hello) and frame.node != self.node:
            try:
                member.accept(frame)
            except ValueError as error:
                raise ProtocolError(str(error)) from error
            before = self.roster.joined(member)
            if before is not None:
                self.drop(before)  # the node has a new connection
        else:
            raise ProtocolError(f"{type(frame).__name__} in place of the Hello of another node")

    def _told_once(self, count: str, text: str, about: object) -> None:
        """Count it, and log it the first time: it may come with every heartbeat."""
        self.counts[count] += 1
        _log.log(logging.WARNING if self.counts[count] == 1 else logging.DEBUG, text, about)
