"""``RegistryClient``: the registry over HTTP, for programs that are no Shoal nodes."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from shoal.errors import ConfigError, MissingExtraError, NotFound, RequestError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock
from shoal.services.info import AgentInfo, AgentRecord
from shoal.services.leases import Given, Registration, keep
from shoal.services.targets import plain_target

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RegistryClient"]

URL = "http://127.0.0.1:4567"
PAGE = 1_000


class RegistryClient:
    """A way to a registry: ``async with RegistryClient(url) as registry``, or ``close()`` at the end.

    Args:
        base_url: where it is; default ``SHOAL_REGISTRY_URL``, else port 4567 of this machine.
        token: what says who asks; default ``SHOAL_REGISTRY_TOKEN``. It is sent as a header, and shown nowhere.
        retries: how often a call is tried when the registry cannot be reached, from 1.
        retry_delay: seconds between two tries.
        clock: for its pauses; default the real one.

    Raises:
        ConfigError, ValueError: an argument cannot be.
        MissingExtraError: the extra ``http`` is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        token: str | None = None,
        retries: int = 3,
        retry_delay: float = 1.0,
        *,
        clock: Clock | None = None,
    ) -> None:
        url = base_url or os.environ.get("SHOAL_REGISTRY_URL") or URL
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 1:
            raise ValueError(f"retries must be a whole number from 1, not {retries!r:.80}")
        if isinstance(retry_delay, bool) or not math.isfinite(retry_delay) or retry_delay < 0:
            raise ValueError(f"retry_delay must be seconds from 0, not {retry_delay!r:.80}")
        if not url.startswith(("http://", "https://")) or "@" in url:
            raise ConfigError(f"base_url: must begin with http:// or https://, without a user, not {url!r:.200}")
        try:
            from shoal.services.http.calls import Call, Calls
        except ImportError as error:
            raise MissingExtraError("http", "RegistryClient") from error
        self.clock = clock or RealClock()
        secret = token or os.environ.get("SHOAL_REGISTRY_TOKEN") or None
        self._calls = Calls(url, secret, retries, retry_delay, self.clock)
        self._call_of = Call
        self._registrations: dict[str, Registration] = {}
        self._keepers: dict[Registration, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"RegistryClient({self._calls.url!r})"

    async def __aenter__(self) -> RegistryClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what it does in the background and its connections. Registered agents stay until their leases end."""
        keepers = list(self._keepers.values())
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.wait(keepers)
        await self._calls.close()

    async def _call(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        return await self._calls.make(self._call_of(method=method, path=path, body=body, **more))

    # -- an agent of one's own

    @property
    def registered(self) -> bool:
        """Tell whether an agent that was registered here is, as far as is known."""
        return any(registration.registered for registration in self._registrations.values())

    async def register(
        self, info: AgentInfo | Mapping[str, Any], *, address: str | None = None, register: str = "wait"
    ) -> Registration:
        """Register an agent.

        Args:
            info: what it says of itself.
            address: where it is asked on the bus of the registry's runtime, when it has a place there.
            register: ``wait`` returns when it is registered; its lease is renewed by ``renew``. ``background`` returns at
                once, keeps trying with growing pauses, then renews the lease every quarter of it and registers the agent
                anew when it was lost, until it is withdrawn or the client is closed.

        Raises:
            InfoError: what is wrong with *info*.
            RegistryUnavailableError: the registry was not reached; nothing is registered.
            RequestError: AGENT_EXISTS, UNAUTHORIZED, VALIDATION_ERROR ...
        """
        if register not in ("wait", "background"):
            raise ValueError(f"register must be wait or background, not {register!r:.80}")
        body = AgentInfo.of(info).to_data() | ({} if address is None else {"address": address})
        registration = Registration(body)
        if register == "wait":
            await self._register(registration)
        else:
            work = keep(registration, self._register, self._renew, self.clock)
            keeper = asyncio.get_running_loop().create_task(work, name=f"lease of {body['name']}")
            self._keepers[registration] = keeper
            keeper.add_done_callback(lambda _: self._keepers.pop(registration, None))
        return registration

    async def _register(self, registration: Registration) -> None:
        again = not registration.body["exclusive"]  # the one whose answer was lost would be in the way
        answer = await self._call("POST", "/register", registration.body, again=again)
        given = self._calls.read(answer, Given)
        registration.begun(given.uuid, given.owner_token, given.ttl)
        self._registrations[given.uuid] = registration

    async def renew(self, uuid: str, **told: Any) -> AgentRecord:
        """Prolong the lease of an agent registered here, and tell its ``state``, ``load`` (from 0), ``health`` (0-100).

        Raises:
            NotFound: its lease is over; register it again.
            RequestError: UNAUTHORIZED: it is another's; VALIDATION_ERROR.
            RegistryUnavailableError: the registry was not reached.
        """
        return await self._renew(self._own(uuid), **told)

    async def _renew(self, registration: Registration, **told: Any) -> AgentRecord:
        path = f"/agents/{_quoted(registration.uuid)}/lease"
        try:
            answer = await self._call("PUT", path, told, owner=registration.owner_token, again=True)
        except NotFound:
            self._lost(registration)
            raise
        return self._calls.read(answer, AgentRecord)

    async def withdraw(self, uuid: str) -> None:
        """Take out an agent registered here; one whose lease is over is no error. Raises as ``renew``."""
        registration = self._own(uuid)
        keeper = self._keepers.get(registration)
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        path = f"/withdraw/{_quoted(registration.uuid)}"
        try:
            await self._call("DELETE", path, owner=registration.owner_token, again=True)
        except NotFound as error:
            _ = error  # its lease is over, or the answer to an earlier try was lost
        self._lost(registration)

    def _own(self, uuid: str) -> Registration:
        """Return the registration of an id; of another's there is no token, and the registry says what that means."""
        return self._registrations.get(uuid) or Registration({}, uuid=uuid)

    def _lost(self, registration: Registration) -> None:
        self._registrations.pop(registration.uuid or "", None)
        registration.lost()

    # -- others

    async def discover(
        self, capabilities: str | Sequence[str], *, type: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> list[AgentRecord]:
        """Return the agents that have all these capabilities, by registration; at most *limit* (1,000) after *offset*.

        Raises RegistryUnavailableError; RequestError: VALIDATION_ERROR, UNAUTHORIZED.
        """
        words = [capabilities] if isinstance(capabilities, str) else list(capabilities)
        query = {"capabilities": ",".join(words), "limit": limit, "offset": offset} | ({"type": type} if type else {})
        answer = await self._call("GET", "/agents/discover", query=query, again=True)
        return self._calls.read(answer, _Found).agents

    async def get(self, uuid: str) -> AgentRecord:
        """Return the record of an agent, by id or instance. Raises NotFound, RegistryUnavailableError, RequestError."""
        answer = await self._call("GET", f"/agents/{_quoted(uuid)}", again=True)
        return self._calls.read(answer, AgentRecord)

    async def fetch_all(self) -> list[AgentRecord]:
        """Return all agents, by registration. Raises RegistryUnavailableError, RequestError."""
        found: list[AgentRecord] = []
        while True:
            query = {"limit": PAGE, "offset": len(found)}
            answer = await self._call("GET", "/agents", query=query, again=True)
            page = self._calls.read(answer, list[AgentRecord])
            found += page
            if len(page) < PAGE:
                return found

    async def health(self, uuid: str | None = None) -> dict[str, Any]:
        """Return how an agent is, ``{"ok": ...}``, or without an id how the registry is.

        Raises NotFound, RegistryUnavailableError, RequestError.
        """
        path = "/health" if uuid is None else f"/agents/{_quoted(uuid)}/health"
        return self._calls.read(await self._call("GET", path, again=True, well="ok"), dict[str, Any])

    async def request(
        self, target: Any, payload: Mapping[str, Any], *, timeout: float = 30.0, idempotent: bool = False
    ) -> dict[str, Any]:
        """Ask a service and return its answer.

        Args:
            target: an id, an instance, a service's name or a record.
            payload: of the request.
            timeout: seconds.
            idempotent: running it twice does no harm, so it may be sent again when an answer was lost.

        Raises RegistryUnavailableError; RequestError: what the service said, or why it could not be asked.
        """
        body = {"payload": dict(payload), "timeout": timeout, "idempotent": idempotent}
        path = f"/agents/{_quoted(_address(target))}/request"
        answer = await self._call("POST", path, body, seconds=timeout, again=idempotent)
        return self._calls.read(answer, dict[str, Any])

    async def control(self, target: Any, action: str, data: Any = None) -> Any:
        """Carry out a control action on an agent and return its answer. Raises as ``request``."""
        path = f"/agents/{_quoted(_address(target))}/control"
        answer = await self._call("POST", path, {"action": action, "data": data}, seconds=30.0)
        return self._calls.read(answer, _Done).data


class _Found(msgspec.Struct):
    """What a search answers, as far as it is read."""

    agents: list[AgentRecord]


class _Done(msgspec.Struct):
    """What an order answers, as far as it is read."""

    data: Any


def _address(target: Any) -> str:
    plain = plain_target(target)
    if not isinstance(plain, str):
        raise TypeError("over HTTP a target is an id, an instance, a service's name or a record")
    return plain


def _quoted(address: str | None) -> str:
    if not address or address.strip("/.") == "":
        raise RequestError("NOT_FOUND", f"nobody is called {address!r:.80}")
    return quote(address, safe="")
