"""Calls of the registry: sent, tried again where that does no harm, and their answers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import httpx2
import msgspec

from shoal.errors import RegistryUnavailableError, RequestError
from shoal.kernel.ports import Clock
from shoal.kernel.trace import current_span
from shoal.services import codes
from shoal.services.requests import error_of

__all__ = ["Call", "Calls"]

SECONDS = 10.0
MORE_SECONDS = 5.0
"""What an answer has beyond the time that its request has at the other side."""
T = TypeVar("T")
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call.

    Attributes:
        method, path, query: of the request.
        body: a JSON value; None is none.
        owner: the secret by which a record is owned.
        seconds: so long the other side may take.
        again: doing it twice does no harm.
        well: an answer that has this key is one, whatever its status.
    """

    method: str
    path: str
    body: Any = None
    query: Mapping[str, Any] | None = None
    owner: str | None = None
    seconds: float = 0.0
    again: bool = False
    well: str | None = None


class Calls:
    """The connections of one client. Neither proxies nor redirections are followed: they would see its token."""

    def __init__(self, url: str, token: str | None, retries: int, retry_delay: float, clock: Clock) -> None:
        self.url = url
        self._retries = retries
        self._retry_delay = retry_delay
        self._clock = clock
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self._client = httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=SECONDS)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def make(self, call: Call) -> Any:
        """Send a call and return its answer, None when that is empty.

        Raises:
            RegistryUnavailableError: the registry was not reached, or gave no answer of its own.
            RequestError: it said no.
        """
        attempt = 1
        while True:
            try:
                return await self._send(call)
            except _Failed as failed:
                if attempt >= self._retries or not (failed.unsent or call.again):
                    raise _told(failed.error, attempt) from failed.__cause__
            await self._clock.sleep(self._retry_delay)
            attempt += 1

    def read(self, answer: Any, kind: type[T]) -> T:
        """Return an answer as what it must be. Raises RegistryUnavailableError: it is something else."""
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise self._no_registry(f"something else: {error}").error from None

    def _no_registry(self, what: str) -> _Failed:
        return _Failed(RegistryUnavailableError(f"no registry answers at {self.url}, but {what}"))

    async def _send(self, call: Call) -> Any:
        try:
            answer = await self._client.send(self._request(call))
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            text = f"the registry at {self.url} cannot be reached: {str(error) or type(error).__name__}"
            raise _Failed(RegistryUnavailableError(text), unsent=isinstance(error, _UNSENT)) from error
        try:
            found = msgspec.json.decode(answer.content) if answer.content else None
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise self._no_registry(f"HTTP {answer.status_code} without JSON") from None
        if answer.is_success or (call.well and isinstance(found, dict) and call.well in found):
            return found
        if not isinstance(found, dict) or "code" not in found:
            raise self._no_registry(f"HTTP {answer.status_code}")
        refused = error_of(found)
        if refused.code == codes.REGISTRY_UNAVAILABLE or (refused.code == codes.RATE_LIMITED and refused.retryable):
            raise _Failed(refused, unsent=True)
        raise refused

    def _request(self, call: Call) -> httpx2.Request:
        headers: dict[str, str] = {}
        content = None
        if call.body is not None:
            content, headers["content-type"] = msgspec.json.encode(call.body), "application/json"
        if call.owner is not None:
            headers["x-owner-token"] = call.owner
        span = current_span.get()
        if span is not None:
            headers["traceparent"] = span.traceparent
        seconds = max(SECONDS, call.seconds + MORE_SECONDS)
        return self._client.build_request(
            call.method, call.path, content=content, params=call.query, headers=headers, timeout=seconds
        )


class _Failed(Exception):
    """A call has no good answer, and another try may help; with *unsent* the registry surely did nothing."""

    def __init__(self, error: RegistryUnavailableError | RequestError, *, unsent: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.unsent = unsent


def _told(error: RegistryUnavailableError | RequestError, attempts: int) -> Exception:
    if isinstance(error, RequestError) and error.code != codes.REGISTRY_UNAVAILABLE:
        return error
    return RegistryUnavailableError(str(error), attempts=attempts)
