"""The other nodes that this one has links to: who sits where, and what each said of its seats."""

from __future__ import annotations

from typing import Generic, TypeVar

from shoal.bus.peer import Peer
from shoal.bus.service import Service
from shoal.bus.wire import Attach, Detach, Frame, Subscribe, Unsubscribe
from shoal.errors import ProtocolError

__all__ = ["Roster"]

P = TypeVar("P", bound=Peer)


class Roster(Generic[P]):
    """Accepted links, one a node, and the way from an address to its link."""

    def __init__(self, service: Service) -> None:
        self.by_node: dict[str, P] = {}
        self._where: dict[str, P] = {}  # by address
        self._service = service

    def find(self, address: str) -> P | None:
        """Return the link to the node that has attached *address*."""
        return self._where.get(address)

    def joined(self, peer: P) -> P | None:
        """Take up a link that was accepted; returns the one to the same node that it replaces."""
        before = self.by_node.get(peer.node)
        self.by_node[peer.node] = peer
        for address in peer.addresses:
            self._where[address] = peer
        return before if before is not peer else None

    def left(self, peer: P) -> None:
        """Forget a link and what it led to."""
        if peer.node and self.by_node.get(peer.node) is peer:
            del self.by_node[peer.node]
        for address in peer.addresses:
            self._moved(address)

    def heard(self, peer: P, frame: Frame) -> None:
        """Handle a frame of an accepted link. Raises ProtocolError for one that has no place here."""
        match frame:
            case Attach(address):
                peer.addresses.add(address)
                self._where[address] = peer
            case Detach(address):
                peer.topics.drop(address)
                peer.addresses.discard(address)
                self._moved(address)
            case Subscribe(address, pattern):
                _subscribed(peer, address, pattern)
            case Unsubscribe(address, pattern):
                peer.topics.remove(address, pattern)
            case _:
                self._service.serve(peer, frame)

    def _moved(self, address: str) -> None:
        for each in self.by_node.values():
            if address in each.addresses:
                self._where[address] = each
                return
        self._where.pop(address, None)


def _subscribed(peer: Peer, address: str, pattern: str) -> None:
    try:
        peer.topics.add(address, pattern)
    except ValueError as error:
        raise ProtocolError(str(error)) from error
