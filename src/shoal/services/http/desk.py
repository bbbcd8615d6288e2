"""What every route of the registry does first and last: rate, token, errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shoal.errors import RequestError
from shoal.services import codes
from shoal.services.http.answers import failed
from shoal.services.http.limits import Rates, is_local, read_body
from shoal.services.tokens import Role, Tokens

if TYPE_CHECKING:
    from shoal.services.services import Services

__all__ = ["Desk", "Visit"]

Handler = Callable[["Visit"], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]
_METHODS_THAT_READ = ("GET", "HEAD")


class Visit:
    """One request that was let in: the services it is about, and what its caller may do."""

    def __init__(self, request: Request, services: Services, role: Role, ttl: float) -> None:
        self.request = request
        self.services = services
        self.role = role
        self.ttl = ttl
        self.outside = services.directory.outside

    @property
    def who(self) -> str:
        """The agent that the path names."""
        return str(self.request.path_params["who"])

    @property
    def owner_token(self) -> str | None:
        """The secret by which the caller owns a record."""
        return self.request.headers.get("x-owner-token")

    async def body(self, *, needed: bool = True) -> dict[str, Any]:
        """Return the JSON object in the body; without need an empty body is an empty object. Raises RequestError."""
        raw = await read_body(self.request, self.outside.clock)
        if not raw and not needed:
            return {}
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise RequestError(codes.INVALID_FORMAT, f"the body is no JSON: {str(error)[:200]}") from None
        if not isinstance(found, dict):
            raise RequestError(codes.INVALID_FORMAT, "the body must be a JSON object")
        return found


class Desk:
    """Lets requests in.

    Args:
        services: gives the services, when a request comes.
        tokens: who may do what; without any, programs on this machine may read and register.
        ttl: seconds of a lease.
    """

    def __init__(self, services: Callable[[], Services], tokens: Tokens, ttl: float) -> None:
        self._services = services
        self._tokens = tokens
        self._ttl = ttl
        self._rates = Rates()

    def lets(self, needed: Role, handler: Handler, *, always: bool = False) -> Endpoint:
        """Return the endpoint that lets callers with the role *needed* to *handler*; with *always* only by a token."""

        async def endpoint(request: Request) -> Response:
            try:
                services = self._services()
                outside = services.directory.outside
                outside.check()
                role, denied = self._admitted(request, needed, always, outside.clock.monotonic())
                return await handler(Visit(request, services, role, self._ttl)) if denied is None else denied
            except Exception as error:  # noqa: BLE001  it is the caller's answer
                return failed(error)

        return endpoint

    def _admitted(self, request: Request, needed: Role, always: bool, now: float) -> tuple[Role, Response | None]:
        """Return the role of the caller, and why it is not let in."""
        address = "" if request.client is None else request.client.host
        write = request.method not in _METHODS_THAT_READ
        if not self._rates.admit(address, write=write, now=now):
            error = RequestError(codes.RATE_LIMITED, "too many requests from this address in a second", retryable=True)
            return needed, failed(error)
        if not self._tokens:
            if not is_local(request):
                return needed, _denied(403, "without tokens only programs on this machine may use the registry")
            if always:
                return needed, _denied(401, "requests and control need a token; this registry has none")
            return Role.WRITE, None
        role = self._tokens.role_of(request.headers.get("authorization"))
        if role is None:
            return needed, _denied(401, "a token is needed: Authorization: Bearer TOKEN")
        if role < needed:
            return role, _denied(403, f"the token has the role {role.name.lower()}; {needed.name.lower()} is needed")
        return role, None


def _denied(status: int, text: str) -> Response:
    return failed(RequestError(codes.UNAUTHORIZED, text), status)
