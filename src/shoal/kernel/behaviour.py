"""What counts as an agent, behind one face: classes, objects, functions and things that chat."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec

from shoal.errors import ConfigError
from shoal.kernel.agent import BaseAgent
from shoal.kernel.context import AgentContext
from shoal.kernel.ports import Abilities
from shoal.kernel.usage import Usage, pico_of

__all__ = ["HOOKS", "Behaviour", "chat_output", "check_source", "describe", "takes_tasks"]

HOOKS = ("on_start", "on_stop", "on_pause", "on_resume", "on_error", "on_control")

RunSync = Callable[..., Awaitable[Any]]
"""``await run_sync(fn, *args)`` runs a synchronous function where it may block."""


def describe(source: object) -> str:
    """Return the name by which error texts call an agent's source."""
    return getattr(source, "__qualname__", None) or type(source).__qualname__


def check_source(source: object) -> None:
    """Raise ConfigError unless *source* is a class, object or function that can be an agent."""
    _kind(source)


def takes_tasks(source: object) -> bool:
    """Tell whether *source* executes tasks: it is a function, or has ``execute_task`` or ``chat``."""
    return _kind(source) == "function" or callable(getattr(source, "execute_task", None)) or _chats(source)


def _chats(source: object) -> bool:
    return callable(getattr(source, "chat", None)) and not callable(getattr(source, "execute_task", None))


def _kind(source: object) -> str:
    if any(callable(getattr(source, verb, None)) for verb in ("execute_task", "on_message", "chat")):
        return "class" if isinstance(source, type) else "object"
    if inspect.isroutine(source) or (callable(source) and not isinstance(source, type)):
        required, most = _positional(source)
        if required <= 2 and most >= 1:
            return "function"
        raise ConfigError(
            f"agent function {describe(source)} must take (task) or (task, context), not {required} arguments"
        )
    raise ConfigError(
        f"{describe(source)} is no agent: it has neither execute_task nor on_message",
        note="An agent is a class or object with execute_task or on_message, a function of (task) or (task, context), "
        "or an object with chat(message).",
    )


def _positional(fn: Callable[..., Any]) -> tuple[int, float]:
    """Return how many positional arguments *fn* needs, and how many it takes at most."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # a built-in without a signature: say what it gets
        return 1, 1
    takes = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return sum(p.default is p.empty for p in takes), float("inf") if rest else len(takes)


class Behaviour:
    """One agent's code, constructed. ``invoke`` enters it; hooks that it does not have return None."""

    __slots__ = ("_context", "_entries", "_run_sync", "_target")

    def __init__(self, source: Any, config: dict[str, Any], context: AgentContext, run_sync: RunSync) -> None:
        """Construct the agent (with *config* if its constructor takes an argument) and hand it its context.

        Raises whatever the constructor raises.
        """
        self._context = context
        self._run_sync = run_sync
        kind = _kind(source)
        self._target: Any = source
        if kind == "class":
            # BaseAgent's own signature counts as well: most subclasses have no constructor of their own.
            self._target = source(config) if _positional(source)[1] >= 1 else source()
        if kind != "function":
            _introduce(self._target, context)
        entries = {name: self._entry(name, kind) for name in ("execute_task", "on_message", *HOOKS)}
        self._entries = {name: (fn, self._is_async(fn)) for name, fn in entries.items() if fn is not None}

    @property
    def abilities(self) -> Abilities:
        """What the code can do."""
        entries = self._entries
        return _abilities(
            "execute_task" in entries, "on_message" in entries, frozenset(name for name in HOOKS if name in entries)
        )

    def _entry(self, name: str, kind: str) -> Callable[..., Any] | None:
        if kind == "function":
            return self._function() if name == "execute_task" else None
        if name == "execute_task" and _chats(self._target):
            return self._chat
        method = getattr(self._target, name, None)
        # A hook that BaseAgent only declares does nothing: not calling it is the same and quicker.
        declared = getattr(BaseAgent, name, None)
        if not callable(method) or (declared is not None and getattr(method, "__func__", None) is declared):
            return None
        entry: Callable[..., Any] = method
        return entry

    def _function(self) -> Callable[..., Any]:
        if _positional(self._target)[1] >= 2:
            return lambda task: self._target(task, self._context)
        target: Callable[..., Any] = self._target
        return target

    async def _chat(self, task: Any) -> dict[str, Any]:
        chat = self._target.chat
        message = task.input_data.get("message", "")
        options = {"user_id": task.input_data["user_id"]} if "user_id" in task.input_data and _takes_user(chat) else {}
        answer = await (chat(message, **options) if self._is_async(chat) else self._blocking(chat, message))
        return chat_output(answer)

    async def _blocking(self, fn: Callable[..., Any], *args: Any) -> Any:
        value = await self._run_sync(fn, *args)
        return await value if inspect.isawaitable(value) else value

    def _is_async(self, fn: Callable[..., Any]) -> bool:
        if inspect.isroutine(self._target):
            fn = self._target  # perhaps behind the lambda that adds the context
        return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004

    def invoke(self, hook: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """Run ``execute_task``, ``on_message`` or another hook; synchronous ones where they may block."""
        entry = self._entries.get(hook)
        if entry is None:
            return _nothing()
        fn, is_async = entry
        coroutine: Coroutine[Any, Any, Any] = fn(*args) if is_async else self._blocking(fn, *args)
        return coroutine


def chat_output(answer: Any) -> dict[str, Any]:
    """Return an agent's answer as the output of a task: its content, and what it says that it used."""
    if isinstance(answer, str):
        return {"content": answer}
    output: dict[str, Any] = {"content": str(getattr(answer, "content", answer))}
    usage = getattr(answer, "usage", None)
    cost = getattr(answer, "cost", None)
    if isinstance(usage, Usage):
        output["usage"] = msgspec.to_builtins(usage)
    elif isinstance(cost, (int, float)) and not isinstance(cost, bool):
        output["usage"] = msgspec.to_builtins(Usage(calls=1, cost_pico=pico_of(cost)))
    return output


def _takes_user(chat: Any) -> bool:
    try:
        return "user_id" in inspect.signature(chat).parameters
    except (TypeError, ValueError):  # it has no signature: the message is all it can be given
        return False


@functools.lru_cache(maxsize=256)
def _abilities(takes_tasks: bool, takes_messages: bool, hooks: frozenset[str]) -> Abilities:
    """Return the one record for these abilities: many agents share it."""
    return Abilities(takes_tasks=takes_tasks, takes_messages=takes_messages, hooks=hooks)


async def _nothing() -> None:
    return None


def _introduce(agent: object, context: AgentContext) -> None:
    own = isinstance(agent, BaseAgent)
    for attribute, value in (("agent_id", context.agent_id), ("name", context.name), ("context", context)):
        # Somebody else's object keeps a name of its own, but not the context of an earlier life; one with slots may not
        # take any.
        if own or not hasattr(agent, attribute) or isinstance(getattr(agent, attribute), AgentContext):
            with contextlib.suppress(AttributeError, TypeError):
                setattr(agent, attribute, value)
