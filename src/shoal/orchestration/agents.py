"""What counts as an agent of a pattern: anything with a name that can chat."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

__all__ = ["WrappedAgent", "as_agent", "check_agents", "name_of"]


class WrappedAgent:
    """A function, or somebody else's agent, behind ``name`` and ``chat``."""

    def __init__(self, target: Any, name: str, call: Callable[..., Any]) -> None:
        self.name = name
        self.wrapped = target
        self._call = call

    async def chat(self, message: str, **options: Any) -> Any:
        """Return what it answers: a str, or an object with ``content``."""
        answer = self._call(message)
        return await answer if inspect.isawaitable(answer) else answer

    def __repr__(self) -> str:
        return f"as_agent({self.wrapped!r}, name={self.name!r})"


def as_agent(obj: Any, name: str | None = None, call: Callable[..., Any] | None = None) -> WrappedAgent:
    """Make an agent of a function or of another framework's agent.

    Args:
        obj: what answers.
        name: its name; default its ``name`` or ``__name__``.
        call: how it is asked: a function of the message, or of the object and the message; default *obj* itself, or its
            ``chat``.

    Raises:
        TypeError: it cannot be asked. ValueError: it has no name.
    """
    ask = _asked_by(obj, call)
    found = name or _own_name(obj)
    if not found:
        raise ValueError(f"{type(obj).__name__} has no name: give it a name: as_agent(fn, name=…)")
    return WrappedAgent(obj, found, ask)


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
    except (TypeError, ValueError):
        return 1
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


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
    agents: Sequence[Any], *, pattern: str, least: int = 1, again: Literal["refuse", "number", "allow"] = "refuse"
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
    given = list(agents)
    found = [_checked(agent, index) for index, agent in enumerate(given)]
    if len(found) < least:
        raise ValueError(f"{pattern} needs at least {least} agent{'s' * (least > 1)}, got {len(found)}")
    if again == "allow":
        return tuple(found)
    if again == "number":
        found = _numbered(found)
    else:
        _check_instances(given, found)
    names = [name_of(agent) for agent in found]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise ValueError(f"agent names must be unique in {pattern}: {name!r}")
    return tuple(found)


def _checked(agent: Any, index: int) -> Any:
    if callable(getattr(agent, "chat", None)) and not isinstance(agent, type):
        if not _own_name(agent):
            raise ValueError(f"agent {index} ({type(agent).__name__}) has no name: as_agent(obj, name=…) gives it one")
        return agent
    if inspect.isroutine(agent) or (callable(agent) and not isinstance(agent, type)):
        if _own_name(agent) is None:
            raise ValueError(f"agent {index} is a function without a name: give it a name: as_agent(fn, name=…)")
        return as_agent(agent)
    raise TypeError(f"agent {index} ({type(agent).__name__}) has no async chat(message)")


def _check_instances(given: Sequence[Any], found: Sequence[Any]) -> None:
    places: dict[int, int] = {}
    for index, agent in enumerate(given):
        first = places.setdefault(id(agent), index)
        if first != index:
            raise ValueError(
                f"agent {name_of(found[index])!r} is listed twice ({first}, {index}): "
                "fork() it, or allow_duplicate_instances=True"
            )


def _numbered(agents: Sequence[Any]) -> list[Any]:
    counts: dict[str, int] = {}
    found: list[Any] = []
    for agent in agents:
        name = name_of(agent)
        counts[name] = number = counts.get(name, 0) + 1
        found.append(agent if number == 1 else _Renamed(agent, f"{name}#{number}"))
    return found


class _Renamed:
    """The same agent under another name, in one pattern."""

    def __init__(self, agent: Any, name: str) -> None:
        self.name = name
        self._agent = agent
        self.chat = agent.chat
        self.journaled = getattr(agent, "journaled", False)
