"""A registry over HTTP for tests: on a port of loopback that the system gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from shoal import AgentRuntime
from shoal.services.http.server import HttpServing
from shoal.services.registry import serve_registry
from tests.support.runtimes import running

__all__ = ["TOKENS", "as_", "info", "registry", "served"]

TOKENS = {"reads-1": "read", "writes-1": "write", "rules-1": "admin"}


def info(name: str, *capabilities: str, **more: Any) -> dict[str, Any]:
    """Return the body of a registration."""
    return {"name": name, "capabilities": list(capabilities), **more}


def as_(token: str | None = None, owner: str | None = None) -> dict[str, str]:
    """Return the headers of a caller."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    return headers if owner is None else headers | {"x-owner-token": owner}


@asynccontextmanager
async def served(
    runtime: AgentRuntime, *, tokens: Mapping[str, str] | None = None, ttl: float = 30.0, port: int = 0
) -> AsyncIterator[tuple[HttpServing, httpx2.AsyncClient]]:
    """Serve the registry of a runtime; yields it and a client of it."""
    serving = await serve_registry(runtime.services, "127.0.0.1", port, tokens, ttl)
    async with httpx2.AsyncClient(base_url=serving.url, trust_env=False, timeout=30) as http:
        yield serving, http
    await serving.close()


@asynccontextmanager
async def registry(
    url: str, *, tokens: Mapping[str, str] | None = None, ttl: float = 30.0
) -> AsyncIterator[tuple[AgentRuntime, httpx2.AsyncClient]]:
    """Run a runtime and serve its registry."""
    async with running(url) as runtime, served(runtime, tokens=tokens, ttl=ttl) as (_, http):
        yield runtime, http
