"""The bus through NATS: core messages only, nothing is kept there. What must last is in the store before it is said."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from shoal.bus.bells import Bells
from shoal.bus.broker import BrokerDesk, Outgoing
from shoal.bus.members import Members
from shoal.bus.node import NodeBus
from shoal.bus.places import NatsPlace
from shoal.bus.seats import Seats
from shoal.bus.trial import Trial
from shoal.errors import BusError, MissingExtraError
from shoal.kernel.ports import Clock

try:
    import nats.errors
    from nats.aio.client import Client
    from nats.aio.msg import Msg
except ModuleNotFoundError as error:
    raise MissingExtraError("nats", "the bus nats://") from error

__all__ = ["NatsBroker", "NatsBus"]

_log = logging.getLogger("shoal.bus")

_CONNECT_SECONDS = 5.0
_CLOSE_SECONDS = 1.0
_PING_SECONDS = 1.0  # two of them unanswered: the connection is lost
_PACKET_BYTES = 256 * 1024  # larger ones would hold up heartbeats
_PENDING_BYTES = 512 * 1024 * 1024  # of one subscription; the windows of the links hold less
_PENDING_MESSAGES = 1_000_000
_HUNG_UP = ("reset by peer", "broken pipe", "unexpected eof", "eof occurred", "_alert_")
_PROMPT_BYTES = 1024 * 1024  # half of what the client holds before it waits


class NatsBroker:
    """One connection to a NATS server, for one namespace."""

    def __init__(self, place: NatsPlace, clock: Clock) -> None:
        self.where = f"NATS at {place.url.where}"
        self._place = place
        self._clock = clock
        self._client: Client | None = None
        self._desk: BrokerDesk | None = None
        self._session = ""
        self._last_error = ""

    @property
    def packet_bytes(self) -> int:
        """Return the most bytes of one packet: the server says how many it takes."""
        return min(self._client.max_payload, _PACKET_BYTES) if self._client is not None else _PACKET_BYTES

    def is_prompt(self) -> bool:
        """Tell whether the client would take a small packet without waiting for the socket."""
        return self._client is not None and self._client.is_connected and self._client.pending_data_size < _PROMPT_BYTES

    async def connect(self, session: str, desk: BrokerDesk) -> None:
        """Connect to one of the servers, and listen to what is sent to *session* and to all.

        Each has its share of the time: one that is silent keeps nobody from the others.
        """
        servers = list(self._place.servers)
        self._clock.random.shuffle(servers)
        self._desk, self._session = desk, session
        for number, server in enumerate(servers, 1):
            try:
                return await self._connect(server, _CONNECT_SECONDS / len(servers), desk)
            except BusError:
                if number == len(servers):
                    raise

    async def _connect(self, server: str, seconds: float, desk: BrokerDesk) -> None:
        client = Client()
        self._last_error = ""

        async def failed(error: Exception) -> None:
            self._failed(error)

        async def closed() -> None:
            if self._client is client:
                desk.down(self._last_error or "it was closed")

        try:
            async with self._clock.timeout(seconds):
                await client.connect(
                    server,
                    **self._place.options(),
                    name=f"shoal {self._session}",
                    error_cb=failed,
                    closed_cb=closed,
                    allow_reconnect=False,  # a new connection is a new session: what was on the way is known to be lost
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=2,
                    ping_interval=_PING_SECONDS,  # type: ignore[arg-type]
                    no_echo=True,
                    inbox_prefix=self._subject("inbox"),
                    skip_subject_validation=True,
                )
                self._check_tls(client)
                self._last_error = ""
                await self._listen(client)
        except BaseException as error:
            await self._end(client)
            if isinstance(error, nats.errors.Error | OSError | TimeoutError):
                raise self._refused(error) from error
            raise
        self._client = client

    async def neighbours(self) -> int:
        """Return 1 when another node is there: one that has joined answers."""
        client = self._connected()
        found = 0
        try:
            await client.request(self._subject("join"), b"", timeout=0.5)
            found = 1
        except nats.errors.NoRespondersError:
            found = 0
        except nats.errors.TimeoutError:
            found = 1  # somebody is there, and busy
        except nats.errors.Error as error:
            raise ConnectionError(str(error)) from error
        return found

    async def carry(self, batch: list[Outgoing]) -> None:
        """Publish. The server answers at once when nobody listens as that session."""
        client = self._connected()
        everybody, to, void = self._subject("all"), self._subject("to."), self._subject(f"void.{self._session}.")
        try:
            for session, data in batch:
                if session is None:
                    await client.publish(everybody, data)
                else:
                    await client.publish(to + session, data, void + session)
        except (nats.errors.Error, OSError) as error:
            raise ConnectionError(f"{error}") from error

    async def probe(self, session: str) -> None:
        """Send nothing to a session, to hear whether it is there."""
        await self.carry([(session, b"")])

    async def close(self) -> None:
        """Flush and close."""
        client, self._client = self._client, None
        if client is None:
            return
        if client.is_connected:
            with contextlib.suppress(nats.errors.Error, OSError):
                await client.flush(timeout=1)
        await self._end(client)

    async def try_out(self) -> Trial:
        """Connect and listen as a node does, measure the way to the server and back, and leave. Raises BusError."""
        await self.connect(self._clock.new_id(), _Nobody())
        try:
            client = self._connected()
            before = self._clock.monotonic()
            await client.flush(timeout=2)
            return Trial(
                where=f"{self.where}, namespace {self._place.namespace}",
                round_trip=self._clock.monotonic() - before,
                payload_bytes=client.max_payload,
            )
        except (nats.errors.Error, OSError) as error:
            raise self._refused(error) from error
        finally:
            await self.close()

    # -- inside

    async def _end(self, client: Client) -> None:
        # After a handshake of TLS that failed, the client would wait for ever for the end of a connection that it closed.
        with contextlib.suppress(TimeoutError):
            async with self._clock.timeout(_CLOSE_SECONDS):
                await client.close()

    def _subject(self, name: str) -> str:
        return f"{self._place.namespace}.{name}"

    async def _listen(self, client: Client) -> None:
        await self._subscribe(client, f"to.{self._session}", self._heard)
        await self._subscribe(client, f"void.{self._session}.*", self._void)
        await self._subscribe(client, "all", self._heard)
        await self._subscribe(client, "join", self._joined)  # its own question does not come back: no_echo
        for _ in range(2):  # the client's first PING overtakes the subscriptions, which it keeps for a turn of the loop
            await client.flush(timeout=2)
        if self._last_error:  # a subject that this user must not hear
            raise OSError(self._last_error)

    async def _subscribe(self, client: Client, name: str, callback: Any) -> None:
        await client.subscribe(
            self._subject(name),
            cb=callback,
            pending_msgs_limit=_PENDING_MESSAGES,
            pending_bytes_limit=_PENDING_BYTES,
        )

    async def _heard(self, message: Msg) -> None:
        assert self._desk is not None
        self._desk.heard(message.data)
        await self._desk.hurry()

    async def _void(self, message: Msg) -> None:
        """Hear from the server that nobody listens as the session that the subject ends with."""
        assert self._desk is not None
        self._desk.gone(message.subject.rpartition(".")[2])

    async def _joined(self, message: Msg) -> None:
        with contextlib.suppress(nats.errors.Error):
            await message.respond(b"")

    def _connected(self) -> Client:
        if self._client is None or not self._client.is_connected:
            raise ConnectionError(self._last_error or "it was closed")
        return self._client

    def _check_tls(self, client: Client) -> None:
        if self._place.tls is not None and not client._server_info.get("tls_required"):
            raise OSError("it does not speak TLS")

    def _failed(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        if isinstance(error, nats.errors.SlowConsumerError):
            _log.warning("%s: this node is too slow; a message was lost, and its link begins anew", self.where)
        else:
            _log.debug("%s: %s", self.where, self._last_error)

    def _refused(self, error: BaseException) -> BusError:
        text = self._last_error or str(error) or type(error).__name__
        credentials = (
            "Give user and password, a token, a creds or an nkey file, or a certificate in the URL of the bus, as the "
            f"server knows them; they must be allowed all subjects that begin with {self._place.namespace}."
        )
        if any(word in text.lower() for word in ("authorization", "authentication", "permissions")):
            return BusError(f"{self.where} refused this node: {text}", note=credentials)
        if any(word in text.lower() for word in _HUNG_UP):  # its last word can get lost with the connection
            return BusError(f"{self.where} refused this node without a word: {text}", note=credentials)
        return BusError(
            f"{self.where} cannot be reached: {text}",
            note="Start the server, or correct host, port and TLS in the URL.",
        )


class _Nobody:
    """The desk of a connection that only looks."""

    def heard(self, data: bytes) -> None:
        pass

    async def hurry(self) -> None:
        pass

    def wake(self) -> None:
        pass

    def rang(self, bell: str, note: str) -> None:
        pass

    def gone(self, session: str) -> None:
        pass

    def down(self, reason: str) -> None:
        pass


class NatsBus(NodeBus):
    """The bus of ``nats://`` and ``tls://``."""

    def __init__(self, url: str, clock: Clock) -> None:
        """*url* as in :class:`NatsPlace`."""
        place = NatsPlace(url)

        def others(seats: Seats, bells: Bells) -> Members:
            return Members(NatsBroker(place, clock), seats, bells, clock)

        super().__init__(clock, others)
