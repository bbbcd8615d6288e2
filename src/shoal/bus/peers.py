"""The other nodes on the same store: who is there, and one connection to each, by Unix sockets in a private folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from shoal.bus.bells import Bells, Rang
from shoal.bus.connection import Connection
from shoal.bus.folder import listening_socket, private_folder, remove, socket_name, sockets
from shoal.bus.owned import OwnedTasks
from shoal.bus.roster import Roster
from shoal.bus.seats import Seats
from shoal.bus.service import Service
from shoal.bus.wire import Attach, Detach, Frame, Hello, Ring, Subscribe, Unsubscribe
from shoal.errors import ProtocolError
from shoal.kernel.ports import Clock, Timer

__all__ = ["Peers"]

_log = logging.getLogger("shoal.bus")

_GREETING_SECONDS = 0.5  # how long a start waits for the greeting of a node that is there but busy
_FLUSH_SECONDS = 1.0
_RESCAN_SECONDS = 2.0  # a connection that was lost while both nodes live is made again


class Peers:
    """The nodes beside this one. A pair keeps one connection: that which the node with the smaller id has called."""

    def __init__(self, folder: Path, seats: Seats, bells: Bells, clock: Clock) -> None:
        self._folder = folder
        self._seats = seats
        self._clock = clock
        self._tasks = OwnedTasks()
        self._roster: Roster[Connection] = Roster(Service(seats, bells, self._tasks))
        self.connections = self._roster.by_node
        self._all: set[Connection] = set()
        self._node = ""
        self._instance = ""
        self._path = folder
        self._server: asyncio.Server | None = None
        self._timer: Timer | None = None

    async def start(self, node: str) -> None:
        """Listen, call every node that is there, and wait shortly for their greetings."""
        self._node, self._instance = node, self._clock.new_id()
        self._folder = private_folder(self._folder)
        self._path = self._folder / socket_name(node)
        loop = asyncio.get_running_loop()
        listener = listening_socket(self._path)
        self._server = await loop.create_unix_server(lambda: self._made(None), sock=listener)
        await self._scan()
        called = [each.settled for each in self._all]
        if called:
            with contextlib.suppress(TimeoutError):
                async with self._clock.timeout(_GREETING_SECONDS):
                    await asyncio.gather(*(asyncio.shield(each) for each in called))
        self._timer = self._clock.call_later(_RESCAN_SECONDS, self._rescan)

    async def stop(self) -> None:
        """Write what is buffered, within a second, and leave."""
        if self._server is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._server.close()
        self._server = None
        remove(self._path)
        await self._tasks.end()
        try:
            async with self._clock.timeout(_FLUSH_SECONDS):
                await self._close_all(Connection.close)
        except TimeoutError:
            await self._close_all(Connection.abort)

    def find(self, address: str) -> Connection | None:
        """Return the connection to the node that has attached *address*."""
        return self._roster.find(address)

    def tell(self, frame: Attach | Detach | Subscribe | Unsubscribe) -> None:
        """Tell every node of a change here."""
        for each in list(self._all):
            if each.greeted:
                each.tell(frame)

    def ring(self, rings: list[Rang]) -> None:
        """Carry bells to every node that is not too far behind to hear them."""
        frame = Ring(rings)
        for each in list(self._all):
            if each.greeted:
                each.offer(frame)

    # -- the desk of the connections

    def heard(self, connection: Connection, frame: Frame) -> None:
        """Handle a frame of another node."""
        if not connection.node:
            if not isinstance(frame, Hello):
                raise ProtocolError(f"{type(frame).__name__} before Hello")
            self._greeting(connection, frame)
            return
        self._roster.heard(connection, frame)

    def lost(self, connection: Connection) -> None:
        """Forget a connection and what it led to."""
        self._all.discard(connection)
        self._roster.left(connection)

    # -- inside

    def _made(self, dialed: str | None) -> Connection:
        connection = Connection(self, dialed)
        self._all.add(connection)
        return connection

    def _hello(self) -> Hello:
        return Hello(self._node, self._instance, list(self._seats.by_address), self._seats.topics.pairs())

    def _greeting(self, connection: Connection, hello: Hello) -> None:
        if self._is_double(connection, hello):
            connection.close()
            return
        try:
            connection.accept(hello)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        if not connection.greeted:
            self._greet(connection)
        before = self._roster.joined(connection)
        if before is not None:
            before.abort()  # the node has begun anew before the end of its old connection was seen

    def _is_double(self, connection: Connection, hello: Hello) -> bool:
        """Tell whether the other side calls while our own call to it stands, and ours is the one to keep."""
        if hello.node == self._node:
            raise ProtocolError(f"another node calls itself {hello.node}")
        if connection.dialed is not None:
            return False
        known = self.connections.get(hello.node)
        if known is not None:
            return known.instance == hello.instance and self._keeps(known, hello.node)
        name = socket_name(hello.node)
        return any(each.dialed == name and self._keeps(each, hello.node) for each in self._all)

    def _keeps(self, ours: Connection, node: str) -> bool:
        return ours.dialed is not None and self._node < node

    def _greet(self, connection: Connection) -> None:
        connection.greeted = True
        connection.tell(self._hello())

    async def _close_all(self, how: Callable[[Connection], None]) -> None:
        while left := list(self._all):
            for each in left:
                how(each)
            for each in left:
                await asyncio.shield(each.closed)

    def _rescan(self) -> None:
        self._tasks.start(self._scan(), "shoal-bus-scan")
        self._timer = self._clock.call_later(_RESCAN_SECONDS, self._rescan)

    async def _scan(self) -> None:
        reached = {socket_name(node) for node in self.connections} | {each.dialed for each in self._all}
        for path in sockets(self._folder):
            if path != self._path and path.name not in reached:
                await self._dial(path)

    async def _dial(self, path: Path) -> None:
        connection: list[Connection] = []

        def make() -> Connection:
            connection.append(self._made(path.name))
            return connection[0]

        try:
            await asyncio.get_running_loop().create_unix_connection(make, str(path))
        except ConnectionRefusedError:
            remove(path)  # its node died
        except FileNotFoundError:
            _log.debug("the node at %s has just left", path.name)
        except OSError as error:
            _log.warning("cannot reach the node at %s: %s", path.name, error)
        else:
            self._greet(connection[0])
            return
        for each in connection:
            each.connection_lost(None)  # uvloop makes one before anybody was reached
