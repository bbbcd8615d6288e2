"""The room for tasks on one node: free lanes by the words that a task's target can be."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence

import msgspec

__all__ = ["AGENT_WORD", "Room", "Slot"]

AGENT_WORD = "agent:"
"""Begins the target word of the tasks for one agent; its id follows."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """Room in one cell: ``free`` tasks whose target word is in ``targets``.

    A slot with ``root_id`` is lent by an attempt that waits for its own child: it takes tasks of that family only.
    """

    agent_id: str
    targets: tuple[str, ...]
    free: int = 1
    root_id: str | None = None


class _Takers:
    """Those who take the tasks of one word."""

    __slots__ = ("lanes", "slots")

    def __init__(self) -> None:
        self.lanes = 0
        self.slots: dict[str, Slot] = {}  # by agent, the one idle longest first


class Room:
    """Free lanes by target word. What a claim looks at grows with the words and tasks that are ready, not with the
    number of idle agents.

    A claim reads it in the store's thread: nobody changes it while one is under way. At most one slot of an agent is
    its own; the others are lent to families.
    """

    __slots__ = ("_lent", "_own", "_takers", "_words")

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        self._own: dict[str, Slot] = {}  # by agent
        self._lent: dict[str, list[Slot]] = {}  # by agent
        self._takers: dict[str, _Takers] = {}  # by word that several may share
        self._words: list[str] = []  # all words of free lanes, in order
        by_agent: dict[str, list[Slot]] = {}
        for slot in slots:
            by_agent.setdefault(slot.agent_id, []).append(slot)
        for agent_id, its in by_agent.items():
            self.put(agent_id, its)

    # -- what a store reads

    def __bool__(self) -> bool:
        return bool(self._own or self._lent)

    def next_word(self, word: str, *, after: bool = False) -> str | None:
        """Return the first word, in order, that a free lane takes: from *word* on, or *after* it."""
        place = (bisect_right if after else bisect_left)(self._words, word)
        return self._words[place] if place < len(self._words) else None

    def lanes(self, word: str) -> int:
        """Return how many free lanes take tasks of *word*."""
        takers = self._takers.get(word)
        return sum(slot.free for slot in self.takers(word)) if takers is None else takers.lanes

    def takers(self, word: str) -> Iterable[Slot]:
        """Return those with free lanes for tasks of *word*, in the order in which they are served: idle longest first."""
        if word.startswith(AGENT_WORD):
            slot = self._own.get(word[len(AGENT_WORD) :])
            return (slot,) if slot is not None and word in slot.targets else ()
        takers = self._takers.get(word)
        return () if takers is None else takers.slots.values()

    def is_full(self, agent_id: str, taken: int) -> bool:
        """Tell whether an agent of which *taken* lanes were given away has none left, or may have none."""
        own = self._own.get(agent_id)
        return own is None or taken >= own.free or agent_id in self._lent

    @property
    def lent(self) -> list[Slot]:
        """The lanes that are lent to families."""
        return [slot for slots in self._lent.values() for slot in slots]

    # -- what a node writes

    def put(self, agent_id: str, slots: Sequence[Slot], *, at_end: bool = False) -> None:
        """Note what an agent has room for now; with *at_end* all others that are idle come before it from now on."""
        own = next((slot for slot in slots if slot.root_id is None), None)
        lent = [slot for slot in slots if slot.root_id is not None]
        if lent:
            self._lent[agent_id] = lent
        else:
            self._lent.pop(agent_id, None)
        before = self._own.get(agent_id)
        if before is not None and (own is None or at_end or own.targets != before.targets):
            self._remove(before)
            before = None
        if own is not None:
            self._add(own, more=own.free - (0 if before is None else before.free), known=before is not None)

    def _add(self, own: Slot, *, more: int, known: bool) -> None:
        self._own[own.agent_id] = own
        for word in own.targets:
            if not word.startswith(AGENT_WORD):
                takers = self._takers.get(word)
                if takers is None:
                    takers = self._takers[word] = _Takers()
                    insort(self._words, word)
                takers.slots[own.agent_id] = own
                takers.lanes += more
            elif not known:
                insort(self._words, word)

    def _remove(self, own: Slot) -> None:
        del self._own[own.agent_id]
        for word in own.targets:
            takers = self._takers.get(word)
            if takers is not None:
                del takers.slots[own.agent_id]
                takers.lanes -= own.free
                if takers.slots:
                    continue
                del self._takers[word]
            del self._words[bisect_left(self._words, word)]
