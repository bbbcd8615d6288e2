"""Three wire formats, behind the names that a developer writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest

from shoal.llm import Model, open_model
from tests.llm_server import Behaviour, LlmServer

SECRET = "sk-test-7f3a9c-do-not-tell"


class Open(Protocol):
    """Starts a server with these behaviours and opens a model that speaks to it."""

    def __call__(self, *behaviours: Behaviour, **options: Any) -> tuple[LlmServer, Model]: ...


@pytest.fixture(params=["chat", "responses", "anthropic"])
def wire(request: pytest.FixtureRequest) -> str:
    """The wire format."""
    return str(request.param)


@pytest.fixture(scope="module")
def one_server() -> Iterator[LlmServer]:
    """The server of a module's tests."""
    with LlmServer() as server:
        yield server


@pytest.fixture
def server_of(one_server: LlmServer) -> Callable[..., LlmServer]:
    """Lets the server play these behaviours, with nothing seen yet."""
    return one_server.play


@pytest.fixture
def open_at(wire: str, server_of: Callable[..., LlmServer], monkeypatch: pytest.MonkeyPatch) -> Open:
    """A server and a model of it, in either format."""

    def opened(*behaviours: Behaviour, **options: Any) -> tuple[LlmServer, Model]:
        server = server_of(*behaviours)
        options = {"api_key": SECRET, **options}
        if wire == "chat":
            return server, open_model("gpt-4o-mini", base_url=server.base_url, **options)
        if wire == "responses":
            monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
            return server, open_model("openai:gpt-4o-mini", **options)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        return server, open_model("anthropic:claude-haiku-4-5", **options)

    return opened
