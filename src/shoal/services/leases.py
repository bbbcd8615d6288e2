"""An agent registered over HTTP, and the keeping of its lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec

from shoal.errors import NotFound, RegistryUnavailableError, RequestError
from shoal.kernel.ports import Clock
from shoal.services import codes

__all__ = ["Given", "Registration", "keep"]

log = logging.getLogger("shoal.services.registry")
RENEWALS_A_LEASE = 4
SHORTEST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
_PASSING = (codes.AGENT_EXISTS, codes.RATE_LIMITED, codes.REGISTRY_UNAVAILABLE)


class Given(msgspec.Struct):
    """What a registry gives to whom it registers."""

    uuid: Annotated[str, msgspec.Meta(min_length=1)]
    owner_token: Annotated[str, msgspec.Meta(min_length=1)]
    ttl: Annotated[float, msgspec.Meta(gt=0)]


class Registration:
    """An agent that was, or is to be, registered over HTTP.

    Attributes:
        uuid: its id; None while it is not registered.
        ttl: seconds of its lease.
        error: why it is not registered, when trying again does not help.
    """

    def __init__(self, body: dict[str, Any], uuid: str | None = None) -> None:
        self.body = body
        self.uuid = uuid
        self.ttl = 0.0
        self.error: RequestError | None = None
        self.owner_token: str | None = None
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"Registration({self.body.get('name')!r}, uuid={self.uuid!r}, registered={self.registered})"

    @property
    def registered(self) -> bool:
        """Tell whether it is registered, as far as is known."""
        return self.uuid is not None and self.owner_token is not None

    async def wait(self) -> str:
        """Return its id as soon as it is registered. Raises RequestError: it never will be."""
        while not self.registered:
            if self.error is not None:
                raise self.error
            self._changed.clear()
            await self._changed.wait()
        assert self.uuid is not None
        return self.uuid

    def begun(self, uuid: str, owner_token: str, ttl: float) -> None:
        """Note that it is registered."""
        self.uuid, self.owner_token, self.ttl = uuid, owner_token, ttl
        self._changed.set()

    def lost(self) -> None:
        """Note that it is not registered any more."""
        self.uuid = self.owner_token = None
        self._changed.set()

    def refused(self, error: RequestError) -> None:
        """Note that it cannot be registered."""
        self.error = error
        self.lost()


async def keep(
    registration: Registration,
    register: Callable[[Registration], Awaitable[Any]],
    renew: Callable[[Registration], Awaitable[Any]],
    clock: Clock,
) -> None:
    """Register an agent and keep its lease until it is cancelled, or refused for a reason that does not pass."""
    name, pause = registration.body.get("name"), SHORTEST_PAUSE
    while True:
        try:
            await (renew if registration.registered else register)(registration)
            pause = SHORTEST_PAUSE
            await clock.sleep(registration.ttl / RENEWALS_A_LEASE)
        except NotFound:
            log.warning("the lease of %r was over; it is registered again", name)
            registration.lost()
        except (RegistryUnavailableError, RequestError) as error:
            if isinstance(error, RequestError) and error.code not in _PASSING:
                log.error("%r is not registered: %s", name, error)
                registration.refused(error)
                return
            log.warning("%r could not be registered or renewed: %s; tried again in %g s", name, error, pause)
            await clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
