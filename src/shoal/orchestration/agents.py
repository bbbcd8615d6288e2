"""What counts as an agent of a pattern: anything with a name that can chat."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

__all__ = ["WrappedAgent", "as_agent", "ask", "check_agents", "checked_agent", "name_of"]


class WrappedAgent:
    """A function, or somebody else's agent, behind ``name`` and ``chat``."""

    def __init__(self, target: Any, name: str, asked: Callable[..., Any]) -> None:
        self.name = name
        self.wrapped = target
        self.role = getattr(target, "role", "")
        self.journaled = asked is not target and getattr(asked, "__self__", None) is target and _journaled(target)
        self._asked = asked

    async def chat(self, message: str, user_id: str = "default") -> Any:
        """Return what it answers: a str, or an object with ``content``."""
        return await ask(self._asked, message, user_id)

    def __repr__(self) -> str:
        return f"as_agent({self.wrapped!r}, name={self.name!r})"


def _journaled(agent: Any) -> bool:
    return bool(getattr(agent, "journaled", False))


def as_agent(obj: Any, name: str | None = None, call: Callable[..., Any] | None = None) -> WrappedAgent:
    """Make an agent of a function or of another framework's agent.

    Args:
        obj: what answers.
        name: its name; default its ``name`` or ``__name__``.
        call: how it is asked: a function of the message, or of the object and the message; default *obj* itself, or its
            ``chat``. Functions may be async; one that is not runs in a thread.

    Raises:
        TypeError: it cannot be asked. ValueError: it has no name.
    """
    asked = _asked_by(obj, call)
    found = name or _own_name(obj)
    if not isinstance(found, str) or not found:
        raise ValueError(f"{type(obj).__name__} has no name: give it a name: as_agent(fn, name=…)")
    return WrappedAgent(obj, found, asked)


def _asked_by(obj: Any, call: Callable[..., Any] | None) -> Callable[..., Any]:
    if call is not None:
        if not callable(call):
            raise TypeError(f"call must be a function of the message, not {type(call).__name__}")
        return functools.partial(call, obj) if _takes(call) >= 2 else call
    if callable(getattr(obj, "chat", None)):
        chat: Callable[..., Any] = obj.chat
        return chat
    if callable(obj) and not isinstance(obj, type):
        function: Callable[..., Any] = obj
        return function
    raise TypeError(f"{type(obj).__name__} has no async chat(message), and is no function")


def _takes(function: Callable[..., Any]) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin that tells no signature
        return 1
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


async def ask(function: Callable[..., Any], message: str, user_id: str) -> Any:
    """Return what *function* (a function, or an agent's ``chat``) answers to *message*.

    It is told for whom if it takes ``user_id``. One that is not async runs in a thread.
    """
    options = {"user_id": user_id} if _takes_user(function) else {}
    if _is_async(function):
        return await function(message, **options)
    answer = await asyncio.to_thread(function, message, **options)
    return await answer if inspect.isawaitable(answer) else answer


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _takes_user(function: Callable[..., Any]) -> bool:
    plain = getattr(function, "__func__", function)
    return _plain_takes_user(plain) if inspect.isroutine(plain) else _signature_takes_user(plain)


def _signature_takes_user(function: Callable[..., Any]) -> bool:
    try:
        return "user_id" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # it has no signature: the message is all it can be given
        return False


_plain_takes_user = functools.lru_cache(maxsize=1024)(
    _signature_takes_user
)  # reading a signature takes longer than a call


def _own_name(obj: Any) -> str | None:
    name = getattr(obj, "name", None)
    if not isinstance(name, str) or not name:
        name = getattr(obj, "__name__", None)
    return name if isinstance(name, str) and name and name != "<lambda>" else None


def name_of(agent: Any) -> str:
    """Return the name of an agent that was checked."""
    name: str = agent.name
    return name


def check_agents(
    agents: Iterable[Any], *, pattern: str, least: int = 1, again: Literal["refuse", "number", "allow"] = "refuse"
) -> tuple[Any, ...]:
    """Return *agents* as they can be asked; functions with a name are wrapped.

    Args:
        agents: what the caller gave.
        pattern: how the error texts call the pattern.
        least: how many it needs.
        again: what becomes of an instance that is there twice: refused, its names get ``#2``, or allowed as it is. Unless it
            is allowed, all names must differ.

    Raises:
        ValueError, TypeError: what is wrong, with which agent, and what to do.
    """
    if not isinstance(agents, Iterable) or isinstance(agents, (str, bytes)):
        raise TypeError(f"{pattern} needs a list of agents, not {type(agents).__name__}")
    given = list(agents)
    found = [checked_agent(agent, f"agent {index}") for index, agent in enumerate(given)]
    if len(found) < least:
        raise ValueError(f"{pattern} needs at least {least} agent{'s' * (least > 1)}, got {len(found)}")
    if again == "allow":
        return tuple(found)
    if again == "number":
        found = _numbered(given, found)
    else:
        _check_instances(given, found)
    names = [name_of(agent) for agent in found]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"agent names must be unique in {pattern}: {name!r}")
    return tuple(found)


def checked_agent(agent: Any, what: str) -> Any:
    """Return one agent as it can be asked; error texts call it *what*. Raises ValueError, TypeError."""
    if isinstance(agent, type):
        raise TypeError(f"{what} is the class {agent.__name__}: make an agent of it first")
    if callable(getattr(agent, "chat", None)):
        name = getattr(agent, "name", None)
        if not isinstance(name, str) or not name:
            raise ValueError(f"{what} ({type(agent).__name__}) has no name: give it a name: as_agent(obj, name=…)")
        return agent
    if callable(agent):
        if _own_name(agent) is None:
            raise ValueError(f"{what} is a function without a name: give it a name: as_agent(fn, name=…)")
        return as_agent(agent)
    error = TypeError(f"{what} ({type(agent).__name__}) has no async chat(message)")
    error.add_note("as_agent(obj, name=…, call=…) makes an agent of it.")
    raise error


def _check_instances(given: Sequence[Any], found: Sequence[Any]) -> None:
    places: dict[int, int] = {}
    for index, agent in enumerate(given):
        first = places.setdefault(id(agent), index)
        if first != index:
            raise ValueError(
                f"agent {name_of(found[index])!r} is listed twice ({first}, {index}): "
                "fork() it, or allow_duplicate_instances=True"
            )


def _numbered(given: Sequence[Any], found: Sequence[Any]) -> list[Any]:
    """Name the second place of one instance ``name#2``, and so on."""
    counts: dict[int, int] = {}
    named: list[Any] = []
    for agent, asked in zip(given, found, strict=True):
        counts[id(agent)] = number = counts.get(id(agent), 0) + 1
        named.append(asked if number == 1 else as_agent(asked, name=f"{name_of(asked)}#{number}"))
    return named
