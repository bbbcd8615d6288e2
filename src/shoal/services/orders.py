"""Control of a service, on the service's own side: what only its code can answer."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from shoal.errors import PayloadError, RequestError, ValidationFailed
from shoal.kernel.merging import merged
from shoal.kernel.payload import checked
from shoal.services import codes
from shoal.services.masking import masked
from shoal.services.requests import error_payload, execution_error
from shoal.services.serving import call_hook, run_own

if TYPE_CHECKING:
    from shoal.services.agent import ServiceAgent

__all__ = ["control_action", "default_health", "healthy", "on_control", "own_actions"]

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "__control_action__"
_WHOLE = 100
_FULL, _FAILING = 0.8, 0.5


def control_action(name: str) -> Callable[[F], F]:
    """Make a method a control action: ``control(target, name, data)`` calls it with *data*, and returns what it returns.

    Raises ValueError: the name is empty, or that of an action which all services have.
    """
    if not isinstance(name, str) or not name or name in COMMON:
        raise ValueError(f"a control action needs a name of its own, not {name!r:.80}")

    def mark(fn: F) -> F:
        setattr(fn, _MARK, name)
        return fn

    return mark


COMMON = ("pause", "resume", "status", "update_config", "shutdown", "drain", "health")
"""The actions that all services have."""


def own_actions(cls: type) -> dict[str, str]:
    """Return the methods of a class that are control actions, by action."""
    found = {}
    for attribute in dir(cls):
        name = getattr(getattr(cls, attribute, None), _MARK, None)
        if isinstance(name, str):
            found[name] = attribute
    return found


async def on_control(self: ServiceAgent, order: dict[str, Any]) -> dict[str, Any]:
    """Carry out an order of the runtime: ``{"action", "data"}``; the answer is ``{"data"}`` or ``{"error"}``."""
    action, data = order.get("action"), order.get("data")
    try:
        match action:
            case "status":
                inner = self.inner
                value: Any = {"config": masked(self.config), "requests": inner.requests, "errors": inner.errors}
            case "health":
                self.inner.mailbox_share = float(order.get("mailbox_share") or 0.0)
                value = healthy(await run_own(self.health))
            case "update_config":
                async with self.inner.changing:  # each begins with what the one before it has left
                    value = await _update_config(self, data)
            case _:
                value = await _own(self, str(action), data)
        answer, _size = checked(value, f"the answer of {action}")
    except Exception as error:  # noqa: BLE001  whatever the agent's code raises belongs to who gave the order
        return {"error": error_payload(execution_error(error))}
    return {"data": answer}


async def _own(agent: ServiceAgent, action: str, data: Any) -> Any:
    method = own_actions(type(agent)).get(action)
    if method is None:
        known = ", ".join((*COMMON, *own_actions(type(agent))))
        raise RequestError(codes.INVALID_ACTION, f"no control action {action[:80]!r}: there are {known}")
    fn = getattr(agent, method)
    takes = any(
        p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in inspect.signature(fn).parameters.values()
    )
    return await run_own(fn, *((data,) if takes else ()))


async def _update_config(agent: ServiceAgent, data: Any) -> dict[str, Any]:
    changes = data.get("config") if isinstance(data, Mapping) else None
    if changes is None:
        raise _invalid("config", 'is missing: what changes stands within it, as {"config": {...}}')
    if not isinstance(changes, Mapping):
        raise _invalid("config", f"must be an object, not {type(changes).__name__}")
    old, new = agent.config, merged(copy.deepcopy(agent.config), changes)
    try:
        checked(new, "config")
    except PayloadError as error:
        raise _invalid("config", str(error)) from None
    if agent.inner.control is not None:
        agent.inner.control.convert(new)
    try:
        await call_hook(agent, "on_config", old, new)
    except Exception as error:
        raise _invalid("config", f"on_config refused it: {type(error).__name__}: {error}") from error
    agent.config = new
    return new


def _invalid(path: str, text: str) -> ValidationFailed:
    return ValidationFailed(f"{path} {text}", [{"path": path, "message": text}])


def healthy(found: Any) -> dict[str, Any]:
    """Return what ``health`` said as a dict with ``ok``."""
    if isinstance(found, Mapping):
        return {**found, "ok": bool(found.get("ok", True))}
    return {"ok": bool(found)}


def default_health(agent: ServiceAgent) -> dict[str, Any]:
    """Return whether the mailbox is under 80 % full and under half of the last requests failed."""
    inner = agent.inner
    failed = sum(not well for well in inner.last)
    failing = bool(inner.last) and failed >= _FAILING * len(inner.last)
    return {
        "ok": inner.mailbox_share < _FULL and not failing,
        "mailbox_percent": round(inner.mailbox_share * _WHOLE),
        "failed_of_last": [failed, len(inner.last)],
    }
