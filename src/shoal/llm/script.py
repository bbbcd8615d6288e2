"""A model that says what it was told to say."""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from shoal.errors import ConfigError, ScriptExhaustedError
from shoal.kernel.usage import Usage, pico_of
from shoal.llm.double import Double, counted, pass_time
from shoal.llm.model import ModelReply, ModelRequest, ToolCall

__all__ = ["Reply", "Scripted", "echo", "scripted", "scripted_file"]

Reply: TypeAlias = (
    str | ToolCall | tuple[ToolCall, ...] | ModelReply | BaseException | type[BaseException]
    | Mapping[str, Any] | Callable[[ModelRequest], Any]
)  # fmt: skip
"""What a script may hold: a text, tool calls, a whole reply, ``{"text": …, "tool_calls": […]}``, an exception to raise, or
a function of the request (async or not) that returns one of them."""


def echo(prefix: str = "", latency: float = 0.0) -> Scripted:
    """Return a model that answers with the last message.

    Args:
        prefix: stands before it.
        latency: seconds before it answers.
    """

    def last(request: ModelRequest) -> str:
        return prefix + (request.messages[-1].content if request.messages else "")

    return Scripted({"": last}, latency=latency, name="echo")


def scripted(
    replies: Sequence[Reply] | Mapping[str, Any],
    *,
    latency: float = 0.0,
    cost: float = 0.0,
    usage: Usage | None = None,
    log: str | os.PathLike[str] | None = None,
) -> Scripted:
    """Return a model that says what stands in *replies*.

    Args:
        replies: a list, of which reply number ``request.ordinal`` is given, so the same one after a crash; a dict of
            such lists by agent name; or a dict of regular expressions, of which the first that is found in the last
            message gives its reply. Several tool calls at once are a tuple.
        latency: seconds before it answers.
        cost: USD a call. An exception costs nothing.
        usage: what each reply tells; without it, tokens are counted as four bytes each.
        log: a file that gets one line per real call, before it is answered: to count across kills.

    Raises:
        TypeError, ValueError: *replies* hold what cannot be said, or no regular expression; a number is below 0.
    """
    return Scripted(replies, latency=latency, cost=cost, usage=usage, log=log)


def scripted_file(path: str) -> Scripted:
    """Return the model of a JSON file: a list of strings and of objects with ``text`` or ``tool_calls``, or an object of
    agent name to such a list.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        replies = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the script {path!r} cannot be read: {error}") from error
    lists = list(replies.values()) if isinstance(replies, dict) else [replies]
    if not all(isinstance(part, list) for part in lists):
        raise ConfigError(f"the script {path!r} holds no list of replies, and no object of agent name to such a list")
    try:
        return Scripted(replies, name=f"scripted:{Path(path).name}")
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the script {path!r}: {error}") from error


class Scripted(Double):
    """A model of ``scripted`` or ``echo``."""

    def __init__(
        self,
        replies: Any,
        *,
        latency: float = 0.0,
        cost: float = 0.0,
        usage: Usage | None = None,
        log: str | os.PathLike[str] | None = None,
        name: str = "scripted",
    ) -> None:
        for word, number in (("latency", latency), ("cost", cost)):
            if not isinstance(number, (int, float)) or not math.isfinite(number) or number < 0:
                raise ValueError(f"scripted({word}={number!r:.80}): it must be a number from 0")
        self.name = name
        self._lists, self._patterns = _sorted(replies)
        self._latency = latency
        self._cost_pico = pico_of(cost)
        self._usage = usage
        self._log = None if log is None else os.fspath(log)

    async def request(self, request: ModelRequest) -> ModelReply:
        """Give the reply that is due; raise it, if it is an exception."""
        self._note(request)
        await pass_time(self._latency, request, self.name)
        said = self._due(request)
        while callable(said) and not isinstance(said, type):
            said = said(request)
            if inspect.isawaitable(said):
                said = await _awaited(said)
        if isinstance(said, type) and issubclass(said, BaseException):
            raise said
        if isinstance(said, BaseException):
            raise said.with_traceback(None)  # the one that it got when it was raised before
        return self._reply(said, request)

    def price(self, usage: Usage) -> int | None:
        """Return the cost of as many calls."""
        return self._cost_pico * max(1, usage.calls)

    def _due(self, request: ModelRequest) -> Any:
        if self._patterns is not None:
            last = request.messages[-1].content if request.messages else ""
            for pattern, reply in self._patterns:
                if pattern.search(last):
                    return reply
            error = ScriptExhaustedError(request.agent_name, request.ordinal, len(self._patterns))
            error.add_note(f"No regular expression of the script is found in the last message: {last[:500]!r}")
            raise error
        replies = self._lists.get(request.agent_name, ()) if None not in self._lists else self._lists[None]
        if request.ordinal >= len(replies):
            raise ScriptExhaustedError(request.agent_name, request.ordinal, len(replies))
        return replies[request.ordinal]

    def _reply(self, said: Any, request: ModelRequest) -> ModelReply:
        if isinstance(said, ModelReply):
            return msgspec.structs.replace(said, model=said.model or self.name, provider=said.provider or "double")
        _check(said)
        text, calls = _parts(said, request)
        reason = "tool_calls" if calls else "stop"
        reply = ModelReply(text=text, tool_calls=calls, model=self.name, provider="double", finish_reason=reason)
        return msgspec.structs.replace(reply, usage=self._usage or counted(request, reply))

    def _note(self, request: ModelRequest) -> None:
        """Append a line in one write, so that a kill leaves a whole line or none."""
        if self._log is None:
            return
        line = {
            "agent": request.agent_name, "ordinal": request.ordinal, "attempt": request.attempt, "key": request.key
        }  # fmt: skip
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
        finally:
            os.close(file)


_Lists: TypeAlias = dict[str | None, tuple[Any, ...]]


def _sorted(replies: Any) -> tuple[_Lists, list[tuple[re.Pattern[str], Any]] | None]:
    """Return lists by agent name (None: of every agent), or regular expressions with their replies."""
    if isinstance(replies, Mapping):
        kinds = {isinstance(value, list) for value in replies.values()}
        if kinds == {True}:
            return {str(name): _checked(value) for name, value in replies.items()}, None
        if True in kinds:
            raise ValueError("scripted: a dict holds lists by agent name, or replies by regular expression, not both")
        return {}, [(_compiled(pattern), _check(reply)) for pattern, reply in replies.items()]
    if isinstance(replies, str) or not isinstance(replies, Sequence):
        raise TypeError(f"scripted({replies!r:.80}): it must be a list of replies, or a dict of them")
    return {None: _checked(replies)}, None


def _checked(replies: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(_check(reply, f"reply {number}: ") for number, reply in enumerate(replies))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ValueError(f"scripted: {pattern!r:.80} is no regular expression: {error}") from error


def _check(reply: Any, where: str = "") -> Any:
    if isinstance(reply, Mapping):
        if not reply or not set(reply) <= {"text", "tool_calls"}:
            raise ValueError(f"{where}{dict(reply)!r:.80}: an object has 'text' or 'tool_calls'")
        _parts(reply, ModelRequest())
    elif isinstance(reply, type):
        if not issubclass(reply, BaseException):
            raise TypeError(f"{where}{reply!r:.80} cannot be said")
    elif isinstance(reply, (tuple, list)):
        if not reply or not all(isinstance(call, ToolCall) for call in reply):
            raise TypeError(f"{where}{reply!r:.80}: several tool calls at once are a tuple of ToolCall")
    elif not isinstance(reply, (str, ToolCall, ModelReply, BaseException)) and not callable(reply):
        raise TypeError(f"{where}{reply!r:.80} ({type(reply).__name__}) cannot be said")
    return reply


def _parts(said: Any, request: ModelRequest) -> tuple[str, tuple[ToolCall, ...]]:
    if isinstance(said, str):
        return said, ()
    if isinstance(said, ToolCall):
        return "", (said,)
    if isinstance(said, (tuple, list)):
        return "", tuple(said)
    text, calls = said.get("text", ""), said.get("tool_calls", ())
    if not isinstance(text, str) or not isinstance(calls, Sequence) or isinstance(calls, str):
        raise ValueError(f"{dict(said)!r:.80}: 'text' is a string, 'tool_calls' a list")
    return text, tuple(_call(call, f"call_{request.ordinal}_{number}") for number, call in enumerate(calls))


def _call(call: Any, call_id: str) -> ToolCall:
    if isinstance(call, ToolCall):
        return call
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        raise ValueError(f"{call!r:.80}: a tool call has a 'name' and 'arguments'")
    arguments = call.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(call_id=str(call.get("call_id", call_id)), name=call["name"], arguments=text)


async def _awaited(said: Awaitable[Any]) -> Any:
    return await said
