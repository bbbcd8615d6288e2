"""Calls of the registry: sent, tried again where that does no harm, and their answers read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec

from shoal.errors import RegistryUnavailableError, RequestError
from shoal.kernel.ports import Clock
from shoal.kernel.trace import current_span
from shoal.services import codes
from shoal.services.requests import error_of

__all__ = ["Calls"]

SECONDS = 10.0
MORE_SECONDS = 5.0
"""What an answer has beyond the time that its request has at the other side."""
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_FOR_ALL = (codes.RATE_LIMITED, codes.REGISTRY_UNAVAILABLE)


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

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | None = None,
        owner: str | None = None,
        seconds: float = 0.0,
        again: bool = False,
        well: str | None = None,
    ) -> Any:
        """Send a call and return its answer.

        Raises:
            RegistryUnavailableError: the registry was not reached, or gave no answer of its own.
            RequestError: it said no.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {"content-type": "application/json"} if body is not None else {}
        if owner is not None:
            headers["x-owner-token"] = owner
        span = current_span.get()
        if span is not None:
            headers["traceparent"] = span.traceparent
        request = self._client.build_request(
            method, path, content=content, params=query, headers=headers, timeout=max(SECONDS, seconds + MORE_SECONDS)
        )
        return _opened(await self._answer(request, again), well)
