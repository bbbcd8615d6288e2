"""One running agent: its mailbox, its lanes, and the invocations that are under way in it.

An idle cell holds no asyncio task. Tasks run in up to ``max_concurrent_tasks`` lanes; beside them one message handler
at a time, so that a long task does not make an agent deaf. A message of a call chain in which this agent itself waits
is admitted at once (call-chain reentrancy, as in Orleans), so A -> B -> A is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from shoal.errors import DeadAgentError, DeadlockError, MailboxFullError, NoHandlerError, ShoalError
from shoal.kernel.agent import AgentInstance
from shoal.kernel.entry import Entry
from shoal.kernel.handler import handle_message, too_late
from shoal.kernel.mailbox import Mailbox
from shoal.kernel.message import AgentMessage
from shoal.kernel.owntime import OwnTime
from shoal.kernel.ports import Abilities, Handle, Invocation, Slot
from shoal.kernel.waits import find_cycle

if TYPE_CHECKING:
    from shoal.kernel.attempt import Attempt
    from shoal.kernel.post import Post
    from shoal.kernel.registration import Registration

__all__ = ["Cell"]


class Cell:
    """The loop of one agent. It stands behind the agent's address on the bus (``Receiver``)."""

    def __init__(self, post: Post, registration: Registration, handle: Handle, abilities: Abilities) -> None:
        self.env = post.env
        self.post = post
        self.registration = registration
        self.handle = handle
        self.abilities = abilities
        self.mailbox = Mailbox(self.name, self.env.limits.message_queue_max_size, self.env.clock.now, self._expired)
        self.attempts: dict[str, Attempt] = {}  # by task id
        self.entries: dict[str, Entry] = {}  # by invocation id; what is not here may no longer act
        self.lane: Entry | None = None  # the message handler under way; those admitted by their chain run beside it
        self.asks: dict[str, asyncio.Future[AgentMessage]] = {}  # by message id: who waits for this agent's answer
        self.parked = 0  # messages in the store since the pause
        self.parking = 0  # of these, on their way to the disk
        self.paused = False
        self.closing = False
        self.dead = False
        self.frozen = False
        self.starting = True
        self.consecutive_errors = 0
        self.void: set[str] = set()  # invocations that were given up while their code still runs
        self.on_errors: Callable[[], None] = _nobody  # too many attempts in a row have failed
        self.on_abandon: Callable[[], None] = _nobody  # the agent is to be built anew
        self.time = OwnTime(self.env.clock)
        self._counter = 0
        self._fetching = False

    # -- who it is

    @property
    def instance(self) -> AgentInstance:
        """What the store knows of the agent."""
        return self.registration.instance

    @property
    def agent_id(self) -> str:
        """The agent's id."""
        return self.registration.agent_id

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.registration.name

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

    def abandon(self, entry: Entry) -> None:
        """Give up an invocation whose code does not end, and have the agent built anew."""
        self.void.add(entry.invocation.invocation_id)
        self.leave(entry)
        self.env.numbers.count("abandoned_attempts")
        self.on_abandon()

    # -- tasks

    def slots(self) -> list[Slot]:
        """Return the room for tasks: free lanes, and one lane lent by each attempt that waits for a child
        of its own."""
        if self.closing or self.paused or not self.abilities.takes_tasks:
            return []
        slots = []
        free = self.registration.options.max_concurrent_tasks - len(self.attempts) - self.registration.reserved
        targets = self.registration.targets
        if free > 0:
            slots.append(Slot(agent_id=self.agent_id, targets=targets, free=free))
        for root, lent in self._lent().items():
            if lent > 0:
                slots.append(Slot(agent_id=self.agent_id, targets=targets, free=lent, root_id=root))
        return slots

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

    # -- messages

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message (``Receiver``)."""
        self._check_alive()
        if message.topic is not None and self.full:
            self.post.rejected(message, [self.name])
        if self.paused:
            return self._park(message)
        self.mailbox.put(message)
        self.pump()
        return None

    def ask(self, message: AgentMessage) -> asyncio.Future[AgentMessage]:
        """Take a message that expects a reply (``Receiver``)."""
        future: asyncio.Future[AgentMessage] = asyncio.get_running_loop().create_future()
        try:
            self._check_alive()
            if not self.abilities.takes_messages:
                raise NoHandlerError(f"Agent {self.name!r} has no on_message, so it can never answer")
            self._admit(message)
        except ShoalError as error:
            future.set_exception(error)
            return future
        self.asks[message.message_id] = future
        future.add_done_callback(lambda _: self._ask_ended(message, future))
        return future

    def _ask_ended(self, message: AgentMessage, future: asyncio.Future[AgentMessage]) -> None:
        """Forget an ask that was answered; when its asker waits no longer, its handler has no more time either."""
        self.asks.pop(message.message_id, None)
        if future.cancelled() or isinstance(future.exception(), TimeoutError):
            if self.mailbox.take(lambda waiting: waiting.message_id == message.message_id) is not None:
                return  # withdrawn before it began
            for entry in self.entries.values():
                if entry.message is message:
                    too_late(entry)
                    return

    def _admit(self, message: AgentMessage) -> None:
        if self.paused:
            self.env.spawn(self._park(message), f"park mail of {self.name}")
        elif self._waits_in(message.chain):
            self._start_handler(message, beside=True)
        else:
            if self.lane is not None and (cycle := find_cycle(self, message)):
                self.post.deadlock(cycle)
                raise DeadlockError(cycle)
            self.mailbox.put(message)
            self.pump()

    def _waits_in(self, chain: tuple[str, ...]) -> bool:
        return any(invocation_id in self.entries for invocation_id in chain)

    def _check_alive(self) -> None:
        if self.closing:
            raise DeadAgentError(
                f"Agent {self.name!r} is stopping", reason="stopped", agent_id=self.agent_id, name=self.name
            )

    @property
    def full(self) -> bool:
        """Tell whether it takes no more mail: its mailbox is full, or, while it is paused, its place in the store."""
        limit = self.env.limits.message_queue_max_size
        return self.mailbox.full if not self.paused else limit is not None and self.parked >= limit

    def pump(self) -> None:
        """Start the next message's handler, if there is a handler and its lane is free."""
        if self.lane is not None or self.paused or self.starting or self.closing or not self.abilities.takes_messages:
            return
        message = self.mailbox.next_for_handler()
        if message is not None:
            self._start_handler(message, beside=False)
        elif self.registration.stored_mail:
            self.fetch()

    def _start_handler(self, message: AgentMessage, *, beside: bool) -> None:
        entry = self.enter("on_message", message, chain=message.chain)
        entry.message = message
        if not beside:
            self.lane = entry
        entry.asyncio_task = self.env.spawn(handle_message(self, entry, message), self.name)

    def handler_done(self, entry: Entry) -> None:
        """Free the lane that *entry* held and go on with the mail."""
        self.leave(entry)
        if self.lane is entry:
            self.lane = None
            self.pump()

    def _expired(self, message: AgentMessage) -> None:
        self.post.expired(self, message)

    def open(self) -> None:
        """Begin to handle mail: the agent has started."""
        self.starting = False
        self.pump()

    # -- mail in the store

    async def _park(self, message: AgentMessage) -> None:
        """Bring a message of a paused agent to the disk before its sender hears that it was taken."""
        limit = self.env.limits.message_queue_max_size
        if limit is not None and self.parked >= limit:
            raise MailboxFullError([self.name], limit)
        self.parked += 1
        self.parking += 1
        self.registration.stored_mail = True
        try:
            await self.env.store.mail.put([self.agent_id], message, now=self.env.clock.now())
        except BaseException:
            self.parked -= 1
            raise
        finally:
            self.parking -= 1

    def fetch(self) -> None:
        """Begin to bring stored mail into the mailbox, as far as there is room."""
        if not (self._fetching or self.paused or self.closing):
            self._fetching = True
            self.env.spawn(self._fetch(), f"fetch mail of {self.name}")

    async def _fetch(self) -> None:
        try:
            while not (self.paused or self.closing) and (room := self.mailbox.room):
                self.registration.stored_mail = False
                if not await self.take_stored(room):
                    return
        finally:
            self._fetching = False

    async def take_stored(self, room: int) -> int:
        """Move up to *room* stored messages into the mailbox; return how many came."""
        env = self.env
        messages = await env.store.mail.take(self.agent_id, env.node_id, now=env.clock.now(), limit=room)
        for message in messages:
            self.mailbox.put(message)
        if len(messages) == room:
            self.registration.stored_mail = True
        self.pump()
        return len(messages)

    async def unpark(self) -> None:
        """Bring what came during a pause into the mailbox, in order, then take mail directly again."""
        while room := self.mailbox.room:
            if not await self.take_stored(room) and not self.parking:
                self.registration.stored_mail = False
                break
        self.parked = 0
        self.paused = False

    # -- results and the end

    def count_result(self, failed: bool) -> None:
        """Count attempts that failed in a row; one that did not resets the count."""
        self.consecutive_errors = self.consecutive_errors + 1 if failed else 0
        threshold = self.registration.options.error_threshold
        if threshold is not None and self.consecutive_errors >= threshold:
            self.on_errors()

    def refuse_waiting(self, error: BaseException) -> None:
        """Tell those whose question no handler has begun that none will."""
        begun = {entry.message.message_id for entry in self.entries.values() if entry.message is not None}
        for message_id, future in list(self.asks.items()):
            if message_id not in begun and not future.done():
                future.set_exception(error)

    def fail_asks(self, error: Callable[[], BaseException]) -> None:
        """Tell all who wait for an answer that there will be none."""
        for future in list(self.asks.values()):
            if not future.done():
                future.set_exception(error())


def _nobody() -> None:
    return None
