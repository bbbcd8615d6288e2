"""The mail of one cell: what comes to it, in which order, and which handler it starts.

**One route at a time.** While the store has mail for the agent, or may have, or is being asked for it, plain mail queues
behind it through the store, as in a pause; when the store is known to be empty it goes straight into the mailbox. So mail
of one sender is handled in the order in which it was sent, durable or not. Two kinds go past the line: a response,
because the very handler that holds up the line may wait for it; and a question of a call chain that waits in this agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from shoal.errors import (
    DeadlockError,
    LeaseLostError,
    MailboxFullError,
    NoHandlerError,
    ShoalError,
    StoreError,
)
from shoal.kernel.handler import too_late
from shoal.kernel.mailbox import Mailbox
from shoal.kernel.message import AgentMessage
from shoal.kernel.questions import Answer, Questions
from shoal.kernel.undelivered import not_taken
from shoal.kernel.waits import find_cycle

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["Inbox"]


class Inbox:
    """Stands behind the agent's address on the bus (``Receiver``). Belongs to one event loop."""

    __slots__ = (
        "_cell", "_coming", "_direct", "_env", "_post", "_still", "_wanted", "_withdrawn", "asks",
        "fetching", "heir", "limit", "mailbox", "parked",
    )  # fmt: skip

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._env = cell.env
        self._post = cell.post
        own = cell.registration.options.limits.message_queue_max_size
        self.limit = self._env.limits.message_queue_max_size if own is None else own
        self.mailbox = Mailbox(cell.name, self.limit, self._env.clock.now, self._expired)
        self.asks = Questions(cell)
        self.heir: Inbox | None = None  # of the agent's next life, which answers now
        self.parked = 0  # plain messages that wait in the store
        self._direct = False  # nothing is in the store or on its way there: plain mail goes into the mailbox
        self._coming = 0  # messages on their way to the disk
        self.fetching: asyncio.Task[None] | None = None  # mail of the store into the mailbox
        self._still = False  # a pause begins, or is: nothing is fetched
        self._wanted = False  # somebody receives already while the agent starts
        self._withdrawn: dict[str, None] = {}  # questions in the store whose askers wait no longer

    # -- what comes

    def offer(self, message: AgentMessage) -> Awaitable[None] | None:
        """Take a message (``Receiver``)."""
        cell = self._cell
        if cell.closed:
            raise not_taken(cell)
        try:
            if not self._direct and (message.message_type != "response" or cell.paused):
                return self._park(message)
            self.mailbox.put(message)
        except MailboxFullError:  # published, or of another node: a sender of this node has looked before
            self._post.undelivered.rejected(message, [cell.name])
            raise
        cell.lane.go_on()
        return None

    def ask(self, message: AgentMessage) -> Answer:
        """Take a message that expects a reply (``Receiver``)."""
        answer = self.question(message)
        if not answer.done():
            answer.add_done_callback(lambda _: self.close_question(message, answer))
        return answer

    def question(self, message: AgentMessage) -> Answer:
        """Take a message that expects a reply, from somebody who calls ``close_question`` when he waits no longer."""
        future: Answer = asyncio.get_running_loop().create_future()
        cell = self._cell
        try:
            if cell.closed:
                raise not_taken(cell)
            if not cell.abilities.takes_messages:
                raise NoHandlerError(f"Agent {cell.name!r} has no on_message, so it can never answer")
            self._admit(message, future)
        except ShoalError as error:
            future.set_exception(error)
            return future
        self.asks[message.message_id] = future
        return future

    def _admit(self, message: AgentMessage, future: Answer) -> None:
        cell = self._cell
        if not cell.paused:
            if message.chain and any(invocation_id in cell.entries for invocation_id in message.chain):
                cell.lane.start_beside(message)
                return
            if cell.drained is not None:
                raise not_taken(cell, "draining")
            if not cell.lane.free() and (cycle := find_cycle(cell, message)):
                self._post.asking.deadlock(cycle)
                raise DeadlockError(cycle)
        if self._direct:
            if not self.mailbox and cell.lane.free():
                cell.lane.start(message)  # as through the mailbox, and quicker
            else:
                self.mailbox.put(message)
                self.pump()
        else:
            self._park(message).add_done_callback(lambda parked: self._refuse(future, parked))

    def _refuse(self, future: Answer, parked: asyncio.Future[None]) -> None:
        """Let a question fail that could not be brought to the disk. Who asked has a node of his own, perhaps: that
        this one lost its lease is to him the agent's end."""
        error = None if parked.cancelled() else parked.exception()
        if error is not None and not future.done():
            future.set_exception(not_taken(self._cell, "node_lost") if isinstance(error, LeaseLostError) else error)

    def close_question(self, message: AgentMessage, answer: Answer) -> None:
        """Forget a question that was answered; when its asker waits no longer, its handler has no more time either."""
        if self.heir is not None:
            self.heir.close_question(message, answer)
            return
        self.asks.pop(message.message_id, None)
        if not answer.done():
            answer.cancel()
        if answer.cancelled() or isinstance(answer.exception(), TimeoutError):
            if self.mailbox.take(lambda waiting: waiting.message_id == message.message_id) is not None:
                return  # withdrawn before it began
            for entry in self._cell.entries.values():
                if entry.message is not None and entry.message.message_id == message.message_id:
                    too_late(entry)
                    return
            if not self._direct:
                self._withdrawn[message.message_id] = None

    @property
    def full(self) -> bool:
        """Tell whether it takes no more mail: what waits in the mailbox and, to come behind it, in the store."""
        return self.limit is not None and len(self.mailbox) + self.parked >= self.limit

    # -- handlers

    def pump(self) -> None:
        """Start the next message's handler, if there is a handler and its lane is free."""
        self._cell.lane.go_on()
        if not self._direct and self.mailbox.low:
            self.fetch()

    def _expired(self, message: AgentMessage) -> None:
        self._post.undelivered.expired(self._cell, message)

    # -- mail in the store

    def _park(self, message: AgentMessage) -> asyncio.Future[None]:
        """Send a message to the disk, where it takes its place now; its sender hears when it is there."""
        if self.full:
            raise MailboxFullError([self._cell.name], self.limit or 0)
        env = self._env
        put = asyncio.ensure_future(
            env.store.mail.put([self._cell.agent_id], message, now=env.clock.now(), node_id=env.node_id)
        )
        self.parked += 1
        self._coming += 1
        put.add_done_callback(self._parked)
        return asyncio.shield(put)

    def _parked(self, put: asyncio.Future[None]) -> None:
        self._coming -= 1
        if put.cancelled() or put.exception() is not None:
            self.parked = max(0, self.parked - 1)
        else:
            self.fetch()

    def expect(self) -> None:
        """Hear that mail for this agent is on its way to the store: what comes from now on queues behind it."""
        self._coming += 1
        self._direct = False

    def came(self) -> None:
        """Hear that what was on its way to the store is there, or will not be."""
        self._coming -= 1
        self.fetch()

    def fetch(self) -> None:
        """Begin to bring mail of the store into the mailbox, as far as there is room; without any, take mail directly."""
        cell = self._cell
        if self.fetching is not None or self._still or cell.closed or (cell.starting and not self._wanted):
            return
        if self._mail_is_due() and self.mailbox.room:
            self.fetching = self._env.spawn(self._fetch(), f"fetch mail of {cell.name}")

    def _mail_is_due(self) -> bool:
        env, agent_id = self._env, self._cell.agent_id
        try:
            due = env.store.mail.due([agent_id], now=env.clock.now())
        except StoreError:  # whoever has just ended a message has no part in it; the next poll asks again, and says so
            return False
        if due:
            self._direct = False
            return True
        if not self._coming:
            self._direct = True
            self.parked = 0
            self._withdrawn.clear()
        return False

    async def _fetch(self) -> None:
        try:
            while not (self._still or self._cell.closed) and self.mailbox.room and self._mail_is_due():
                await self._take()
        finally:
            self.fetching = None
            self._cell.look_drained()

    async def _take(self) -> None:
        env, cell = self._env, self._cell
        messages = await env.store.mail.take(cell.agent_id, env.node_id, now=env.clock.now(), limit=self.mailbox.room)
        for message in messages:
            if not message.durable:
                self.parked = max(0, self.parked - 1)
            if message.message_id not in self._withdrawn:
                self.mailbox.put(message, taken=True)
        if cell.dead:  # it ended meanwhile
            self._post.undelivered.abandoned(cell, "stopped")
        self.pump()

    async def catch_up(self) -> None:
        """Return when what the store had is in the mailbox, as far as there is room."""
        if self._direct:
            return
        self._wanted = True
        self.fetch()
        while self.fetching is not None:
            await asyncio.wait([self.fetching])

    # -- start, pause, end

    def open(self) -> None:
        """Begin to handle mail: the agent has started, or goes on after a pause."""
        self._still = False
        self.fetch()
        self.pump()

    async def quiet(self) -> None:
        """Fetch no more, and return when what is being fetched is in the mailbox; ``open`` ends it."""
        self._still = True
        try:
            while self.fetching is not None:
                await asyncio.wait([self.fetching])
        except BaseException:
            self._still = False
            raise

    def close_for_pause(self) -> tuple[tuple[AgentMessage, ...], tuple[AgentMessage, ...]]:
        """Return what a pause brings to the disk: plain messages whose handlers are held, and all that wait, in order.

        From now on mail goes to the store. A held question is not among the first: who asked it hears when it is lost.
        """
        self._direct = False
        held = []
        for entry in self._cell.entries.values():
            message = entry.message
            if message is not None and not message.durable and not message.expects_reply:
                entry.stored = True
                held.append(message)
        waiting = tuple(self.mailbox.drain())
        self.parked += sum(not message.durable for message in waiting)
        return tuple(held), waiting

    def reopen(self, waiting: tuple[AgentMessage, ...]) -> None:
        """Take back what a pause could not bring to the disk, and go on."""
        self.parked = max(0, self.parked - sum(not message.durable for message in waiting))
        for message in waiting:
            self.mailbox.put(message, taken=True)
        self.open()

    def inherit(self, other: Inbox) -> None:
        """Answer what the agent was asked in its last life."""
        self.asks.update(other.asks)
        self._withdrawn = other._withdrawn
        other.asks.clear()
        other.heir = self
