"""What of a conversation a model is shown: whole exchanges, the answers of tools never parted from their calls."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from shoal.errors import nearest
from shoal.llm.model import ChatMessage

__all__ = [
    "FirstLast",
    "LastN",
    "MemoryStrategy",
    "Summarize",
    "TokenWindow",
    "check_memory",
    "healed",
    "selected",
    "size_of",
    "strategy_of",
    "units_of",
]

INTERRUPTED = "not run: interrupted"
BYTES_PER_TOKEN = 4

Unit: TypeAlias = tuple[ChatMessage, ...]
"""Messages that belong together: one, or a reply with the answers to its calls."""


@runtime_checkable
class MemoryStrategy(Protocol):
    """What chooses the messages that a model is shown, of those before the present question."""

    def select(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage] | Awaitable[Sequence[ChatMessage]]:
        """Return those of *messages* that are shown, in order; others may take their place. May be async."""
        ...


class LastN:
    """Shows the newest messages, *count* at most."""

    def __init__(self, count: int = 50) -> None:
        self.count = count

    def select(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the newest whole exchanges."""
        return list(messages) if len(messages) <= self.count else _flat(_newest(units_of(messages), self.count))


class FirstLast:
    """Shows the *first* messages, in which the task often stands, and the *last*."""

    def __init__(self, first: int = 2, last: int = 20) -> None:
        self.first = first
        self.last = last

    def select(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the beginning and the end."""
        if len(messages) <= self.first + self.last:
            return list(messages)
        units = units_of(messages)
        head: list[Unit] = []
        while units and sum(map(len, head)) + len(units[0]) <= self.first:
            head.append(units.pop(0))
        return _flat(head) + _flat(_newest(units, self.last))


class TokenWindow:
    """Shows the newest messages that have *tokens* tokens together, a token counted as four bytes."""

    def __init__(self, tokens: int = 16_000) -> None:
        self.tokens = tokens

    def select(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return the newest whole exchanges that fit."""
        chosen: list[Unit] = []
        left = self.tokens * BYTES_PER_TOKEN
        for unit in reversed(units_of(messages)):
            left -= sum(size_of(message) for message in unit)
            if left < 0:
                break
            chosen.append(unit)
        return _flat(_from_a_question(chosen[::-1]))


class Summarize:
    """When there are more than *over* messages, the agent's model puts all but the newest *keep* into a summary."""

    def __init__(self, keep: int = 10, over: int = 40) -> None:
        self.keep = keep
        self.over = over

    def select(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """Return all: what was summarized is no longer there."""
        return list(messages)

    def due(self, messages: Sequence[ChatMessage]) -> int:
        """Return how many of the oldest are to be summarized now; 0: none."""
        if len(messages) <= self.over:
            return 0
        return len(messages) - len(_flat(_newest(units_of(messages), self.keep)))


class _All:
    def select(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        return list(messages)


_STRATEGIES: dict[str, MemoryStrategy] = {
    "last_n": LastN(),
    "first_last": FirstLast(),
    "token_window": TokenWindow(),
    "summarize": Summarize(),
    "all": _All(),
}


def check_memory(memory: object) -> None:
    """Raise ValueError or TypeError unless *memory* is the name of a strategy, or one."""
    if isinstance(memory, str):
        if memory not in _STRATEGIES:
            known = f"one of {', '.join(_STRATEGIES)}{nearest(memory, _STRATEGIES)}"
            raise ValueError(f"memory={memory!r:.80}: it must be {known}, or an object with select(messages)")
    elif not isinstance(memory, MemoryStrategy):
        raise TypeError(f"memory={memory!r:.80}: it must be a name, or an object with select(messages)")


def strategy_of(memory: str | MemoryStrategy) -> MemoryStrategy:
    """Return the strategy that is meant."""
    return _STRATEGIES[memory] if isinstance(memory, str) else memory


async def selected(strategy: MemoryStrategy, messages: list[ChatMessage]) -> list[ChatMessage]:
    """Return what *strategy* shows of *messages*, in a form that every provider takes."""
    chosen = strategy.select(messages)
    if inspect.isawaitable(chosen):
        chosen = await chosen
    return healed(_with_answers(chosen, messages))


def healed(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return *messages* with an answer to every call, "not run: interrupted" where there was none, and none without one."""
    if all(message.role == "user" or (message.role == "assistant" and not message.tool_calls) for message in messages):
        return list(messages)
    found: list[ChatMessage] = []
    for unit in units_of(messages):
        asked = unit[0]
        if asked.role == "tool":
            continue
        found.append(asked)
        answers = {message.call_id: message for message in unit[1:]}
        for call in asked.tool_calls:
            interrupted = ChatMessage(role="tool", content=INTERRUPTED, call_id=call.call_id, name=call.name)
            found.append(answers.get(call.call_id, interrupted))
    return found


def units_of(messages: Sequence[ChatMessage]) -> list[Unit]:
    """Return *messages* in groups that are never parted."""
    units: list[list[ChatMessage]] = []
    for message in messages:
        if message.role == "tool" and units and units[-1][0].tool_calls:
            units[-1].append(message)
        else:
            units.append([message])
    return [tuple(unit) for unit in units]


def size_of(message: ChatMessage) -> int:
    """Return the bytes of a message: its text, and its calls."""
    text = message.content
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    for call in message.tool_calls:
        size += len(call.name) + len(call.arguments.encode("utf-8", "surrogatepass"))
    return size


def _with_answers(chosen: Sequence[ChatMessage], all_of_them: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return what was chosen, and the answers to its calls, wherever somebody else's strategy parted them."""
    if chosen is all_of_them or not any(message.tool_calls or message.role == "tool" for message in chosen):
        return list(chosen)
    whole = {id(unit[0]): unit for unit in units_of(all_of_them) if unit[0].tool_calls}
    found: list[ChatMessage] = []
    for unit in units_of(chosen):
        found += whole.get(id(unit[0]), unit)
    return found


def _newest(units: list[Unit], count: int) -> list[Unit]:
    chosen: list[Unit] = []
    left = count
    for unit in reversed(units):
        left -= len(unit)
        if left < 0:
            break
        chosen.append(unit)
    return _from_a_question(chosen[::-1])


def _from_a_question(units: list[Unit]) -> list[Unit]:
    """Leave out what comes before the first question: providers refuse a conversation that begins with an answer."""
    for place, unit in enumerate(units):
        if unit[0].role == "user":
            return units[place:]
    return []


def _flat(units: list[Unit]) -> list[ChatMessage]:
    return [message for unit in units for message in unit]
