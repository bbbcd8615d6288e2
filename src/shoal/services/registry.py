"""The registry: who is there, over HTTP, for programs that are no Shoal nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from shoal.errors import ConfigError, MissingExtraError
from shoal.services.tokens import Tokens

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from shoal.runtime import AgentRuntime
    from shoal.services.http.server import HttpServing
    from shoal.services.services import Services

__all__ = ["TTL_SECONDS", "registry_app", "serve_registry"]

TTL_SECONDS = 30.0
LONGEST_TTL = 86_400.0


def registry_app(
    runtime: AgentRuntime, *, tokens: Mapping[str, str] | None = None, ttl: float = TTL_SECONDS
) -> Starlette:
    """Return the registry of a runtime as an ASGI application, in both shapes of routes.

    Args:
        runtime: whose services it tells of; it runs in the loop that serves the application.
        tokens: ``read``, ``write`` or ``admin`` by token. Without any, programs on the same machine may read and register.
        ttl: seconds for which an agent registered over HTTP is believed to be there without a renewal, at most a day.

    Raises:
        ConfigError: what is wrong with the tokens.
        ValueError: *ttl* is no such time.
        MissingExtraError: the extra ``http`` is not installed.
    """
    checked = Tokens(tokens)
    _check_ttl(ttl)
    try:
        from shoal.services.http.application import application
    except ImportError as error:
        raise MissingExtraError("http", "the registry") from error
    return application(lambda: runtime.services, checked, ttl)


async def serve_registry(
    services: Services, host: str, port: int, tokens: Mapping[str, str] | None, ttl: float = TTL_SECONDS
) -> HttpServing:
    """Serve the registry of a runtime on its own event loop. See ``Services.serve_http``."""
    checked = Tokens(tokens)
    _check_ttl(ttl)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        raise ConfigError(f"port: must be a whole number from 0 (any) to 65535, not {port!r:.80}")
    try:
        from shoal.services.http.server import serve
    except ImportError as error:
        raise MissingExtraError("http", "the registry") from error
    return await serve(services, host, port, checked, ttl)


def _check_ttl(ttl: float) -> None:
    if (
        isinstance(ttl, bool)
        or not isinstance(ttl, (int, float))
        or not math.isfinite(ttl)
        or not 0 < ttl <= LONGEST_TTL
    ):
        raise ValueError(f"ttl must be seconds above 0, to {LONGEST_TTL:g}, not {ttl!r:.80}")
