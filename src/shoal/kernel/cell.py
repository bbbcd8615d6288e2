"""One running agent: its lanes, and the invocations that are under way in it. Its mail is in ``inbox``.

An idle cell holds no asyncio task. Tasks run in up to ``max_concurrent_tasks`` lanes; beside them one message handler at a
time (or ``max_concurrent_messages``), so that a long task does not make an agent deaf. A message of a call chain in which
this agent itself waits is admitted at once (call-chain reentrancy, as in Orleans), so A -> B -> A is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol

from shoal.errors import AgentPauseError
from shoal.kernel.agent import AgentInstance
from shoal.kernel.entry import Entry
from shoal.kernel.inbox import Inbox
from shoal.kernel.lane import Lane
from shoal.kernel.owntime import OwnTime
from shoal.kernel.ports import Abilities, Exit, Handle, Invocation
from shoal.kernel.room import Slot

if TYPE_CHECKING:
    from shoal.kernel.attempt import Attempt
    from shoal.kernel.post import Post
    from shoal.kernel.registration import Registration

__all__ = ["Cell", "Keeper"]


class Keeper(Protocol):
    """Hears what has become of a cell."""

    def code_ended(self, cell: Cell) -> None:
        """Hear that its host has ended."""
        ...

    def rebuild(self, cell: Cell) -> None:
        """Build its agent anew: code of it did not end when it was told to."""
        ...

    def too_many_errors(self, cell: Cell) -> None:
        """Hear that as many attempts in a row have failed as may."""
        ...


class Cell:
    """The loop of one agent."""

    __slots__ = (
        "_counter",
        "_keeper",
        "abilities",
        "agent_id",
        "attempts",
        "closing",
        "consecutive_errors",
        "dead",
        "drained",
        "entries",
        "env",
        "frozen",
        "handle",
        "inbox",
        "kept",
        "lane",
        "name",
        "paused",
        "post",
        "registration",
        "starting",
        "time",
        "void",
    )

    def __init__(
        self, post: Post, registration: Registration, handle: Handle, abilities: Abilities, keeper: Keeper
    ) -> None:
        self._keeper = keeper
        self.env = post.env
        self.post = post
        self.registration = registration
        self.agent_id = registration.agent_id
        self.name = registration.name
        self.handle = handle
        self.abilities = abilities
        self.attempts: dict[str, Attempt] = {}  # by task id
        self.entries: dict[str, Entry] = {}  # by invocation id; what is not here may no longer act
        self.lane = Lane(self, registration.options.max_concurrent_messages)
        self.paused = False
        self.closing = False
        self.dead = False
        self.drained: asyncio.Future[None] | None = None  # it takes no new requests; ends when it has none left
        self.frozen = False
        self.kept = False  # it died in a pause: what it was asked is in the store, and its next life answers
        self.starting = True
        self.consecutive_errors = 0
        self.void: Collection[str] = ()  # invocations that were given up while their code still runs
        self.time = OwnTime(self.env.clock)
        self.inbox = Inbox(self)
        self._counter = 0

    # -- who it is

    @property
    def instance(self) -> AgentInstance:
        """What the store knows of the agent."""
        return self.registration.instance

    # -- entering the agent's code

    def enter(
        self, hook: str, argument: object, *, chain: tuple[str, ...] = (), attempt: Attempt | None = None
    ) -> Entry:
        """Register an invocation; from now on until ``leave`` it may use the context."""
        self._counter += 1
        invocation = Invocation(
            invocation_id=f"{self.agent_id}/{self.registration.generation}.{self._counter}",
            hook=hook,
            argument=argument,
            task=None if attempt is None else attempt.task,
            chain=chain,
        )
        entry = Entry(self, invocation, attempt)
        self.entries[invocation.invocation_id] = entry
        return entry

    def outside(self) -> Entry:
        """Return an entry for what the agent's own asyncio tasks do, outside any invocation of the runtime."""
        return Entry(self, Invocation(invocation_id=f"{self.agent_id}/outside", hook="outside"), None)

    def stops(self, invocation: Invocation) -> bool:
        """Tell whether this invocation is to end, or was given up."""
        entry = self.entries.get(invocation.invocation_id)
        return invocation.invocation_id in self.void if entry is None else entry.stopping

    def leave(self, entry: Entry) -> None:
        """End an invocation: what it still tries has no effect."""
        self.entries.pop(entry.invocation.invocation_id, None)
        self.look_drained()

    def look_drained(self) -> None:
        """Tell whoever waits for it that a draining cell has nothing left to do; from that moment on it takes nothing."""
        drained, inbox = self.drained, self.inbox
        if drained is None or drained.done() or self.entries or inbox.mailbox or inbox.parked or inbox.fetching:
            return
        drained.set_result(None)

    @property
    def closed(self) -> bool:
        """Tell whether it takes nothing more: it is closing, or it drains and has nothing left to do."""
        return self.closing or (self.drained is not None and self.drained.done())

    def give_up(self, entry: Entry) -> None:
        """Let nothing count that the invocation still does."""
        self.void = {*self.void, entry.invocation.invocation_id}

    def abandon(self, entry: Entry) -> None:
        """Give up an invocation whose code does not end, and have the agent built anew."""
        self.give_up(entry)
        self.leave(entry)
        self.env.numbers.count("abandoned_attempts")
        self._keeper.rebuild(self)

    def code_ended(self, _: asyncio.Future[Exit]) -> None:
        """Tell the keeper that the host has ended."""
        self._keeper.code_ended(self)

    async def hold(self, seconds: float) -> bool:
        """Hold its code at a safe point; a process too busy to answer in *seconds* is frozen between two instructions,
        then False. Raises AgentPauseError when code of the runtime's own process does not come to one."""
        try:
            await self.handle.hold(seconds)
        except AgentPauseError:
            if self.handle.process_id is None:
                raise
            await self.handle.freeze()
            return False
        return True

    # -- tasks

    def slots(self) -> list[Slot]:
        """Return the room for tasks: free lanes, and one lane lent by each attempt that waits for a child
        of its own."""
        if self.closing or self.paused or not self.abilities.takes_tasks or self.handle.exited.done():
            return []
        slots = []
        free = self.registration.options.max_concurrent_tasks - len(self.attempts)
        targets = self.registration.targets
        if free > 0:
            slots.append(Slot(agent_id=self.agent_id, targets=targets, free=free))
        for root, lent in self._lent().items():
            if lent > 0:
                slots.append(Slot(agent_id=self.agent_id, targets=targets, free=lent, root_id=root))
        return slots

    @property
    def has_room(self) -> bool:
        """Tell whether a lane of its own is free."""
        return len(self.attempts) < self.registration.options.max_concurrent_tasks

    def _lent(self) -> dict[str, int]:
        """Return by family how many attempts wait, less those that run in what was lent."""
        lent: dict[str, int] = {}
        over = len(self.attempts) - self.registration.options.max_concurrent_tasks
        if over < 0 and not any(attempt.entry.waits_for_task for attempt in self.attempts.values()):
            return lent
        for attempt in self.attempts.values():
            if attempt.entry.waits_for_task:
                root = attempt.task.root_id or attempt.task.task_id
                lent[root] = lent.get(root, 0) + 1
        borrowed = max(0, over)
        return {root: number - borrowed for root, number in lent.items()}

    # -- results

    def count_result(self, failed: bool) -> None:
        """Count attempts that failed in a row; one that did not resets the count."""
        self.consecutive_errors = self.consecutive_errors + 1 if failed else 0
        threshold = self.registration.options.error_threshold
        if threshold is not None and self.consecutive_errors >= threshold:
            self._keeper.too_many_errors(self)
