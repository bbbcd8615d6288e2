"""What a service says of itself before it is started: asked of an object of it, checked, and written down for others."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from shoal.errors import AgentStartError, InfoError
from shoal.services.agent import ServiceAgent
from shoal.services.info import AgentInfo, AgentType
from shoal.services.schema import json_schema

__all__ = ["Isolation", "described_by", "plain_info"]

Isolation = Literal["inline", "thread", "process", "bubblewrap", "gvisor", "microvm", "auto"]


def described_by(agent: Any, config: dict[str, Any]) -> ServiceAgent:
    """Return a service that says what it is: *agent*, or an object of it, made in this process.

    Raises InfoError, what its constructor raises, AgentStartError: its constructor takes no config, or would end us.
    """
    if isinstance(agent, type):
        if not issubclass(agent, ServiceAgent):
            raise InfoError(f"{agent.__qualname__} is no ServiceAgent")
        _check_constructor(agent)
        with _staying(f"the constructor of {agent.__qualname__}"):
            agent = agent(dict(config))
    if not isinstance(agent, ServiceAgent):
        raise InfoError(f"{agent!r:.80} is no ServiceAgent")
    for name in ("concurrency", "mailbox"):
        number = getattr(agent, name)
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InfoError(f"{name} must be a whole number from 1, not {number!r:.80}")
    with _staying(f"info() of {type(agent).__qualname__}"):
        _ = agent.inner
    return agent


def _check_constructor(agent: type[ServiceAgent]) -> None:
    try:
        inspect.signature(agent.__init__).bind(None, {})
    except TypeError:
        text = f"{agent.__qualname__} cannot be made with a config alone"
        note = "Write def __init__(self, config=None), and in it super().__init__(config)."
        raise AgentStartError(text, note=note) from None
    except ValueError:
        return  # it has no signature that could be read


@contextmanager
def _staying(what: str) -> Iterator[None]:
    """Let one service's ``sys.exit`` be a failure of its own, not the end of all that run here."""
    try:
        yield
    except SystemExit as error:
        code = "" if error.code is None else f"{error.code!r:.80}"
        raise AgentStartError(f"{what} called sys.exit({code})") from error


def plain_info(info: AgentInfo, concurrency: int) -> dict[str, Any]:
    """Return an info as JSON, for other nodes to read."""
    schema = None if info.request_schema is None else json_schema(info.request_schema)
    return {
        "name": info.name,
        "capabilities": list(info.capabilities),
        "type": str(AgentType(info.type)),
        "version": info.version,
        "request_schema": schema,
        "metadata": info.metadata,
        "control_from": list(info.control_from),
        "exclusive": info.exclusive,
        "concurrency": concurrency,
    }
