"""The post of one node: who is reached how, and on which route mail goes."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentNotFoundError, DeadAgentError, MailboxFullError
from shoal.kernel.agent import AgentStatus
from shoal.kernel.asking import Asking
from shoal.kernel.cell import Cell
from shoal.kernel.door import Door
from shoal.kernel.event import EventType, Fact
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage, about, check_message_type, check_seconds, check_topic
from shoal.kernel.undelivered import Undelivered, not_running
from shoal.kernel.writing import Writing

if TYPE_CHECKING:
    from shoal.kernel.env import Env

__all__ = ["Post"]

DURABLE_TTL_SECONDS = 7 * 86_400

KNOWN_NAMES = 10_000
"""So many names of agents of other nodes are remembered."""


class Post:
    """Messages of one node's agents, and of callers outside any agent."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.cells: dict[str, Cell] = {}  # by agent id: those that are alive on this node
        self.asking = Asking(self)
        self.undelivered = Undelivered(self)
        self.writing = Writing(env)
        self._doors: dict[str, Door] = {}  # by agent id: those whose address is attached
        self._ids: dict[str, str] = {}  # by name: those in cells
        self._elsewhere: dict[str, str] = {}  # the same, of other nodes: true as long as the bus knows the agent
        self._behind: set[str] = set()  # agents for which this node has stored mail that theirs has perhaps not taken

    # -- who is there

    def add(self, cell: Cell) -> None:
        """Let a cell be reached."""
        self.cells[cell.agent_id] = cell
        self._ids[cell.name] = cell.agent_id
        door = self._doors.get(cell.agent_id)
        if door is not None:
            door.pass_on(cell)
            return
        self._doors[cell.agent_id] = door = Door(cell)
        self.env.bus.attach(cell.agent_id, door)

    def remove(self, cell: Cell, error: DeadAgentError) -> None:
        """Let a cell be reached no more; whoever waits for it hears *error*, unless the next cell will answer."""
        if self.cells.get(cell.agent_id) is cell:
            del self.cells[cell.agent_id]
            self._ids.pop(cell.name, None)
        cell.inbox.asks.fail(lambda began: error if began else _unbegun(error), all_of_them=not cell.kept)
        if not cell.kept:
            self._close(cell.agent_id, error)

    def _close(self, agent_id: str, error: DeadAgentError) -> None:
        self._doors.pop(agent_id, None)
        self.env.bus.detach(agent_id, error)
        self.asking.gone(agent_id, error)
        code = "" if error.exit_code is None else str(error.exit_code)
        self.env.bus.ring("gone", f"{agent_id} {error.reason} {code}")

    def lapse(self, agent_id: str) -> None:
        """Hear that an agent that died in a pause is not started again: who waits for it waits in vain."""
        door = self._doors.get(agent_id)
        if door is not None and agent_id not in self.cells:
            error = _unbegun(self.dead(door.cell))
            door.cell.inbox.asks.fail(lambda _: error)
            self._close(agent_id, error)

    def resolve(self, address: str) -> str:
        """Return the id of the agent with this id or name. Raises AgentNotFoundError."""
        if address in self.cells:
            return address
        known = self._ids.get(address) or self._elsewhere.get(address, address)
        if known in self.cells or (":" not in known and self.env.bus.has(known)):  # a colon: one of the runtimes' own
            return known
        agent_id = self.env.store.agents.resolve(address)
        if len(self._elsewhere) == KNOWN_NAMES:
            self._elsewhere.clear()
        self._elsewhere[address] = agent_id
        return agent_id

    def dead(self, cell: Cell, *, began: bool = True) -> DeadAgentError:
        """Return the error that says how this cell ended; *began*: whether it may have begun with what it was asked."""
        exit = cell.handle.exited.result() if cell.handle.exited.done() else None
        if exit is None or exit.reason == "stopped":
            return DeadAgentError(
                f"Agent {cell.name!r} was stopped",
                reason="stopped",
                agent_id=cell.agent_id,
                name=cell.name,
                began=began,
            )
        return DeadAgentError(
            f"Agent {cell.name!r} died (exit code {exit.exit_code})",
            reason="died",
            exit_code=exit.exit_code,
            agent_id=cell.agent_id,
            name=cell.name,
            began=began,
        )

    # -- sending

    async def send(
        self,
        sender: Cell | None,
        recipient_ids: Sequence[str],
        message_type: str,
        data: Any,
        *,
        correlation_id: str | None = None,
        ttl_seconds: float | None = None,
        durable: bool = False,
        message_id: str | None = None,
    ) -> str:
        """Send to each recipient, or to none; return the message's id."""
        if isinstance(recipient_ids, str) or not isinstance(recipient_ids, Sequence):
            raise TypeError("recipient_ids is a list; for all use broadcast_message")
        if not recipient_ids:
            raise ValueError("recipient_ids is empty; for all use broadcast_message")
        check_message_type(message_type)
        check_seconds("ttl_seconds", ttl_seconds)
        ids = tuple(dict.fromkeys(self.resolve(address) for address in recipient_ids))
        message = self.writing.message(
            sender,
            message_type,
            data,
            recipient_ids=ids,
            correlation_id=correlation_id,
            expires_at=self.writing.expiry(ttl_seconds or (DURABLE_TTL_SECONDS if durable else None)),
            durable=durable,
            message_id=message_id,
        )
        if correlation_id is not None:
            self.asking.remember(message, correlation_id)
        await self.deliver(ids, message)
        self.env.numbers.count("messages_sent")
        return message.message_id

    async def deliver(self, ids: Sequence[str], message: AgentMessage) -> None:
        """Bring a message to its recipients: to their mailboxes, or to the store when it is durable or they are paused."""
        if message.durable:
            await self._store(ids, message)
            return
        self._check_room(ids, message)
        # Those of this node in this very turn: later one may be full or gone that has room now.
        to_disk: list[Awaitable[None]] = []
        elsewhere: list[str] = []
        for agent_id in ids:
            if agent_id not in self.cells:
                elsewhere.append(agent_id)
            elif (waiting := self.cells[agent_id].inbox.offer(message)) is not None:
                to_disk.append(waiting)
        for outcome in await asyncio.gather(*to_disk, return_exceptions=True) if to_disk else ():
            if outcome is not None:
                raise outcome
        for agent_id in elsewhere:
            if self.env.bus.has(agent_id) and not self._queues(agent_id):
                await self.env.bus.send(agent_id, message)
            else:
                await self._store([agent_id], message)

    async def _store(self, ids: Sequence[str], message: AgentMessage) -> None:
        env = self.env
        put = env.store.mail.put(ids, message, now=env.clock.now(), node_id=env.node_id)
        inboxes = [self.cells[agent_id].inbox for agent_id in ids if agent_id in self.cells]
        for inbox in inboxes:
            inbox.expect()
        try:
            await put
        finally:
            for inbox in inboxes:
                inbox.came()
        for agent_id in ids:
            if agent_id not in self.cells:
                self._behind.add(agent_id)
            self.mail_waits(agent_id)
            env.bus.ring("mail", agent_id)

    def _queues(self, agent_id: str) -> bool:
        """Tell whether mail for an agent of another node goes behind what this node has stored for it.

        Its node may not have heard of that yet, and would take what comes by the bus first.
        """
        if agent_id not in self._behind:
            return False
        if agent_id not in self.cells and self.env.store.mail.due([agent_id], now=self.env.clock.now()):
            return True
        self._behind.discard(agent_id)
        return False

    def _check_room(self, ids: Sequence[str], message: AgentMessage) -> None:
        """Raise before anybody gets it when one cannot: all or none on one node."""
        full = []
        limit = self.env.limits.message_queue_max_size
        for agent_id in ids:
            cell = self.cells.get(agent_id)
            if cell is not None:
                if cell.closed:
                    raise not_running(cell.instance)
                if cell.inbox.full and not cell.inbox.mailbox.expects(message.correlation_id):
                    full.append(cell.name)
            elif not self.env.bus.has(agent_id) or self._queues(agent_id):
                instance = self.env.store.agents.get(agent_id)
                if instance.status is not AgentStatus.PAUSED and not self.env.bus.has(agent_id):
                    raise not_running(instance)
                if limit is not None and self.env.store.mail.waiting(agent_id) >= limit:
                    full.append(instance.name)
        if full:
            self.undelivered.rejected(message, full)
            raise MailboxFullError(full, limit or 0)

    def mail_waits(self, agent_id: str) -> None:
        """Hear that the store has mail for an agent."""
        cell = self.cells.get(agent_id)
        if cell is not None:
            cell.inbox.fetch()

    async def broadcast(self, sender: Cell | None, message_type: str, data: Any, group: str | None = None) -> int:
        """Send to all running or paused agents (of *group*) but the sender; return how many mailboxes took it."""
        check_message_type(message_type)
        message = self.writing.message(sender, message_type, data, expires_at=self.writing.expiry())
        agents = self.env.store.agents
        known = agents.search(group=group) if group is not None else agents.search()
        reached = 0
        for instance in known:
            paused = instance.status is AgentStatus.PAUSED
            if instance.agent_id == message.sender_id or not (paused or self.env.bus.has(instance.agent_id)):
                continue
            try:
                await self.deliver([instance.agent_id], message)
                reached += 1
            except MailboxFullError:
                continue  # told as message_rejected
            except (DeadAgentError, AgentNotFoundError):
                continue  # it stopped, or was unregistered, in this moment
        self.env.numbers.count("messages_sent", reached)
        return reached

    async def publish(self, sender: Cell | None, topic: str, data: Any) -> int:
        """Send to the subscribers of this moment, at most once; return how many took it."""
        check_topic(topic)
        message = self.writing.message(sender, "event", data, topic=topic, expires_at=self.writing.expiry())
        taken = await self.env.bus.publish(topic, message)
        self.env.numbers.count("messages_sent", taken)
        return taken

    # -- what is told of them

    def received(self, cell: Cell, message: AgentMessage) -> None:
        """Count a message that its agent took."""
        env = self.env
        late = (env.clock.now() - message.timestamp).total_seconds() * 1000
        env.numbers.observe("message_latency_ms", late)
        if env.settings.message_events == "all" and not message.durable:
            self.note(Fact(event_type=EventType.MESSAGE_RECEIVED, agent_id=cell.agent_id, details=about(message)))

    def hook_failed(self, cell: Cell, hook: str, failure: Failure) -> None:
        """Note that a hook raised."""
        details: dict[str, object] = {
            "hook": hook,
            "type": failure.error_type,
            "text": failure.message,
            "traceback": failure.traceback,
        }
        self.note(Fact(event_type=EventType.AGENT_HOOK_FAILED, agent_id=cell.agent_id, details=details))

    def note(self, fact: Fact) -> None:
        """Write an event, soon."""
        self.env.spawn(_done(self.env.store.events.append([fact], now=self.env.clock.now())), "event")


def _unbegun(error: DeadAgentError) -> DeadAgentError:
    told = copy.copy(error)
    told.began = False
    return told


async def _done(work: Awaitable[None]) -> None:
    await work
