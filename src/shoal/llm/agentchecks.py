"""What is checked of an agent when it is made, and of what it is asked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shoal.kernel.budget import LoopLimits
from shoal.llm.memory import check_memory
from shoal.llm.messages import MessageStore

if TYPE_CHECKING:
    from shoal.llm.agent import Agent

__all__ = ["check_agent", "check_message"]

_Check = tuple[Callable[[Any], bool], str]


def _number(value: object, above: float | None = None) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return value >= 0 if above is None else value > above


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


_FIELDS: dict[str, _Check] = {
    "role": (lambda value: isinstance(value, str), "text"),
    "name": (lambda value: isinstance(value, str) and 1 <= len(value.strip()) <= 200, "text of 1 to 200 characters"),
    "provider": (lambda value: value is None or isinstance(value, str), "text, or None"),
    "base_url": (lambda value: value is None or isinstance(value, str), "text, or None"),
    "temperature": (lambda value: value is None or _number(value), "a number from 0, or None"),
    "max_tokens": (lambda value: _whole(value, 1), "a whole number from 1"),
    "tools": (_list, "a list"),
    "fallback": (_list, "a list of models"),
    "store": (lambda value: value is None or isinstance(value, MessageStore), "a MessageStore, or None"),
    "timeout": (lambda value: _number(value, above=0), "a number of seconds above 0"),
    "retries": (lambda value: _whole(value, 0), "a whole number from 0"),
    "output_retries": (lambda value: _whole(value, 0), "a whole number from 0"),
    "loop": (lambda value: isinstance(value, LoopLimits), "LoopLimits"),
    "user_context": (lambda value: isinstance(value, bool), "True or False"),
    "handoffs": (lambda value: value is None or _texts(value), "a list of names, or None"),
    "approve": (lambda value: value is None or callable(value), "an async function of the Approval, or None"),
    "settings": (lambda value: value is None or isinstance(value, Mapping), "a dict, or None"),
}


def check_agent(agent: Agent[Any]) -> None:
    """Raise ValueError for the first field that is not possible."""
    for name, (good, allowed) in _FIELDS.items():
        value = getattr(agent, name)
        if not good(value):
            raise ValueError(f"Agent({name}={value!r:.80}): it must be {allowed}")
    if agent.api_key is not None and not isinstance(agent.api_key, str):
        raise ValueError(f"Agent(api_key=...): it must be text, not {type(agent.api_key).__name__}")
    check_memory(agent.memory)


def check_message(message: object) -> None:
    """Raise TypeError or ValueError unless *message* is a text that says something."""
    if not isinstance(message, str):
        raise TypeError(f"message must be a str, not {type(message).__name__}")
    if not message.strip():
        raise ValueError("message is empty")
