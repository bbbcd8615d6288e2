"""The post of one node: who is reached how, what becomes of mail that cannot be delivered, and answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shoal.errors import (
    AgentNotFoundError,
    ChainTooDeepError,
    DeadAgentError,
    MailboxFullError,
    MessageExpiredError,
    MessageTooLargeError,
    ResponseTimeoutError,
    ShoalError,
)
from shoal.kernel.agent import AgentInstance, AgentStatus
from shoal.kernel.cell import Cell
from shoal.kernel.event import EventType, Fact
from shoal.kernel.failure import Failure
from shoal.kernel.message import AgentMessage, DeadLetter, check_message_type, check_topic
from shoal.kernel.payload import checked
from shoal.kernel.probes import Probes

if TYPE_CHECKING:
    from shoal.kernel.entry import Entry
    from shoal.kernel.env import Env

__all__ = ["Post"]

MAX_CHAIN = 64
DURABLE_TTL_SECONDS = 7 * 86_400
REMEMBERED_QUESTIONS = 10_000


class Post:
    """Messages of one node's agents, and of callers outside any agent."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.cells: dict[str, Cell] = {}  # by agent id: those that are alive on this node
        self._life = env.clock.new_id()
        self._made = 0
        self._ids: dict[str, str] = {}  # names of those
        self._asked: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # by correlation: who was asked
        self.probes = Probes(self)
        self._hoping: dict[str, set[asyncio.Future[AgentMessage]]] = {}  # by agent: who waits for a response from it

    # -- who is there

    def add(self, cell: Cell) -> None:
        """Let a cell be reached."""
        self.cells[cell.agent_id] = cell
        self._ids[cell.name] = cell.agent_id
        self.env.bus.attach(cell.agent_id, cell)

    def remove(self, cell: Cell, error: DeadAgentError) -> None:
        """Let a cell be reached no more; whoever waits for it hears *error*."""
        if self.cells.get(cell.agent_id) is cell:
            del self.cells[cell.agent_id]
            self._ids.pop(cell.name, None)
        cell.fail_asks(lambda: error)
        self.env.bus.detach(cell.agent_id, error)
        self.gone(cell.agent_id, error)
        code = "" if error.exit_code is None else str(error.exit_code)
        self.env.bus.ring("gone", f"{cell.agent_id} {error.reason} {code}")

    def gone(self, agent_id: str, error: DeadAgentError) -> None:
        """Tell those who hope for a response of this agent."""
        for future in self._hoping.pop(agent_id, ()):
            if not future.done():
                future.set_exception(error)

    def resolve(self, address: str) -> str:
        """Return the id of the agent with this id or name. Raises AgentNotFoundError."""
        if address in self.cells:
            return address
        return self._ids.get(address) or self.env.store.agents.get(address).agent_id

    def dead(self, cell: Cell) -> DeadAgentError:
        """Return the error that says how this cell ended."""
        exit = cell.handle.exited.result() if cell.handle.exited.done() else None
        if exit is None or exit.reason == "stopped":
            return DeadAgentError(
                f"Agent {cell.name!r} was stopped", reason="stopped", agent_id=cell.agent_id, name=cell.name
            )
        return DeadAgentError(
            f"Agent {cell.name!r} died (exit code {exit.exit_code})",
            reason="died",
            exit_code=exit.exit_code,
            agent_id=cell.agent_id,
            name=cell.name,
        )

    # -- messages as records

    def _new_id(self) -> str:
        """Return an id that no other message has: unique by the life of this node, and a count in it."""
        self._made += 1
        return f"{self._life}.{self._made:x}"

    def message(self, sender: Cell | None, message_type: str, data: Any, **fields: Any) -> AgentMessage:
        """Return a message of *sender* (None: of the runtime) with checked data."""
        copy, _ = checked(data, "data", self.env.settings.max_payload_bytes, MessageTooLargeError)
        return AgentMessage(
            message_id=fields.pop("message_id", None) or self._new_id(),
            sender_id=self.env.runtime_id if sender is None else sender.agent_id,
            sender_name="runtime" if sender is None else sender.name,
            message_type=message_type,
            data=copy,
            timestamp=fields.pop("timestamp", None) or self.env.clock.now(),
            **fields,
        )

    @staticmethod
    def later(now: datetime, seconds: float) -> datetime:
        """Return the time *seconds* after *now*."""
        return now + timedelta(seconds=seconds)

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
        _check_seconds("ttl_seconds", ttl_seconds)
        ids = tuple(dict.fromkeys(self.resolve(address) for address in recipient_ids))
        now = self.env.clock.now()
        ttl = ttl_seconds or (DURABLE_TTL_SECONDS if durable else self.env.settings.message_ttl_seconds)
        message = self.message(
            sender,
            message_type,
            data,
            recipient_ids=ids,
            correlation_id=correlation_id,
            expires_at=self.later(now, ttl),
            durable=durable,
            message_id=message_id,
            timestamp=now,
        )
        if correlation_id is not None:
            self._asked[correlation_id] = ids
            if len(self._asked) > REMEMBERED_QUESTIONS:
                self._asked.popitem(last=False)
        await self._deliver(ids, message)
        self.env.numbers.count("messages_sent")
        return message.message_id

    async def _deliver(self, ids: Sequence[str], message: AgentMessage) -> None:
        if message.durable:
            await self.env.store.mail.put(ids, message, now=self.env.clock.now())
            for agent_id in ids:
                self.mail_waits(agent_id)
                self.env.bus.ring("mail", agent_id)
            return
        self._check_room(ids, message)
        for agent_id in ids:
            if self.env.bus.has(agent_id):
                await self.env.bus.send(agent_id, message)
            else:  # paused, and nobody holds it: the store keeps its mail
                await self.env.store.mail.put([agent_id], message, now=self.env.clock.now())

    def _check_room(self, ids: Sequence[str], message: AgentMessage) -> None:
        """Raise before anybody gets it when one cannot: all or none on one node."""
        full = []
        for agent_id in ids:
            cell = self.cells.get(agent_id)
            if cell is not None:
                if not cell.closing and cell.full:
                    full.append(cell.name)
                elif cell.closing:
                    raise self._not_there(cell.instance)
            elif not self.env.bus.has(agent_id):
                instance = self.env.store.agents.get(agent_id)
                if instance.status is not AgentStatus.PAUSED:
                    raise self._not_there(instance)
        if full:
            self.rejected(message, full)
            raise MailboxFullError(full, self.env.limits.message_queue_max_size or 0)

    def _not_there(self, instance: AgentInstance) -> DeadAgentError:
        return DeadAgentError(
            f"Agent {instance.name!r} is {instance.status}: it takes no messages",
            reason="not_running",
            agent_id=instance.agent_id,
            name=instance.name,
        )

    def mail_waits(self, agent_id: str) -> None:
        """Hear that the store has mail for an agent."""
        cell = self.cells.get(agent_id)
        if cell is not None:
            cell.registration.stored_mail = True
            cell.fetch()

    async def broadcast(self, sender: Cell | None, message_type: str, data: Any, group: str | None = None) -> int:
        """Send to all running or paused agents (of *group*) but the sender; return how many mailboxes took it."""
        check_message_type(message_type)
        message = self.message(sender, message_type, data, expires_at=self._expiry())
        agents = self.env.store.agents
        known = agents.search(group=group) if group is not None else agents.search()
        reached = 0
        for instance in known:
            paused = instance.status is AgentStatus.PAUSED
            if instance.agent_id == message.sender_id or not (paused or self.env.bus.has(instance.agent_id)):
                continue
            try:
                await self._deliver([instance.agent_id], message)
                reached += 1
            except MailboxFullError:
                continue  # rejected() has told
            except DeadAgentError:
                continue  # it stopped in this moment
        self.env.numbers.count("messages_sent", reached)
        return reached

    async def publish(self, sender: Cell | None, topic: str, data: Any) -> int:
        """Send to the subscribers of this moment, at most once; return how many took it."""
        check_topic(topic)
        message = self.message(sender, "event", data, topic=topic, expires_at=self._expiry())
        taken = await self.env.bus.publish(topic, message)
        self.env.numbers.count("messages_sent", taken)
        return taken

    def _expiry(self) -> datetime:
        return self.later(self.env.clock.now(), self.env.settings.message_ttl_seconds)

    # -- asking and answering

    async def request(
        self, entry: Entry | None, recipient: str, message_type: str, data: Any, timeout_seconds: float | None
    ) -> AgentMessage:
        """Ask and wait for the answer."""
        check_message_type(message_type)
        _check_seconds("timeout_seconds", timeout_seconds)
        sender = None if entry is None else entry.cell
        chain: tuple[str, ...] = ()
        if entry is not None:
            chain = (*entry.invocation.chain, entry.invocation.invocation_id)
            if len(chain) > MAX_CHAIN:
                raise ChainTooDeepError(MAX_CHAIN)
        agent_id = self.resolve(recipient)
        now = self.env.clock.now()
        message = self.message(
            sender,
            message_type,
            data,
            recipient_ids=(agent_id,),
            expects_reply=True,
            expires_at=None if timeout_seconds is None else self.later(now, timeout_seconds),
            chain=chain,
            timestamp=now,
        )
        if not self.env.bus.has(agent_id):
            instance = self.env.store.agents.get(agent_id)
            raise self._not_there(instance)
        self.env.numbers.count("messages_sent")
        if entry is None:
            return await self.env.bus.request(agent_id, message, timeout_seconds)
        entry.waits_for = message
        try:
            with entry.cell.time.limit(timeout_seconds):
                asking = self.env.bus.request(agent_id, message, None)
                if agent_id in self.cells:
                    return await asking  # a circle within this node was refused when it was about to close
                return await self.probes.guarded(entry, message, asking)
        except TimeoutError as error:
            if isinstance(error, ShoalError):
                raise
            raise ResponseTimeoutError(f"No answer from {recipient!r} after {timeout_seconds:g} s") from None
        finally:
            entry.waits_for = None

    def answer(self, cell: Cell, message: AgentMessage, value: Any) -> None:
        """Send back what a handler returned: to who waits for it, or, without a wait, when there is
        something to say."""
        future = cell.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(self.response(cell, message, value))
        elif value is not None and message.correlation_id is not None and len(message.recipient_ids) == 1:
            self.env.spawn(self.reply(cell, message, value), f"reply of {cell.name}")

    def response(self, sender: Cell | None, message: AgentMessage, data: Any) -> AgentMessage:
        """Return the message that answers *message*."""
        return self.message(
            sender,
            "response",
            data,
            recipient_ids=(message.sender_id,),
            correlation_id=message.correlation_id or message.message_id,
            expires_at=self._expiry(),
        )

    async def reply(self, cell: Cell, message: AgentMessage, data: Any) -> None:
        """Answer *message*, whether its sender waits in ``request`` or for its correlation."""
        response = self.response(cell, message, data)
        future = cell.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(response)
            return
        with contextlib.suppress(AgentNotFoundError):  # asked from outside any agent: nobody has a mailbox there
            await self._deliver([self.resolve(message.sender_id)], response)

    async def wait_for_response(self, cell: Cell, correlation_id: str, timeout: float | None) -> AgentMessage:
        """Wait for the message that answers *correlation_id*."""
        _check_seconds("timeout_seconds", timeout)
        future = cell.mailbox.expect(correlation_id)
        asked = self._asked.get(correlation_id, ())
        if not future.done():
            for agent_id in asked:
                self._hoping.setdefault(agent_id, set()).add(future)
            self._check_hope(asked, future)
        try:
            with cell.time.limit(timeout):
                return await future
        except TimeoutError as error:
            if isinstance(error, ShoalError):
                raise
            raise ResponseTimeoutError(f"No response to {correlation_id[:80]!r} after {timeout:g} s") from None
        finally:
            for agent_id in asked:
                hoping = self._hoping.get(agent_id)
                if hoping is not None:
                    hoping.discard(future)
                    if not hoping:
                        del self._hoping[agent_id]

    def _check_hope(self, asked: Sequence[str], future: asyncio.Future[AgentMessage]) -> None:
        """End a wait at once when all who were asked are gone."""
        if not asked or any(self.env.bus.has(agent_id) for agent_id in asked):
            return
        instance = self.env.store.agents.get(asked[0])
        if instance.status is not AgentStatus.PAUSED:
            future.set_exception(self._not_there(instance))

    async def redeliver(self, message_id: str) -> None:
        """Turn a dead letter into mail again. Raises LookupError when there is none."""
        self.env.check_running()
        for agent_id in await self.env.store.mail.redeliver(message_id, now=self.env.clock.now()):
            self.mail_waits(agent_id)
            self.env.bus.ring("mail", agent_id)

    # -- what else becomes of messages

    def received(self, cell: Cell, message: AgentMessage) -> None:
        """Count a message that its agent took."""
        late = (self.env.clock.now() - message.timestamp).total_seconds() * 1000
        self.env.numbers.observe("message_latency_ms", late)
        if self.env.settings.message_events == "all" and not message.durable:
            self._note(Fact(event_type=EventType.MESSAGE_RECEIVED, agent_id=cell.agent_id, details=_about(message)))

    def expired(self, cell: Cell, message: AgentMessage) -> None:
        """Make a message whose time is over a dead letter, and tell who waits for the answer."""
        future = cell.asks.get(message.message_id)
        error = MessageExpiredError(f"The message to {cell.name!r} expired before it was taken")
        asker = self.cells.get(message.sender_id)
        if future is not None and not future.done():
            future.set_exception(error)
        elif asker is not None and message.correlation_id is not None and len(message.recipient_ids) == 1:
            asker.mailbox.refuse(message.correlation_id, error)
        fact = Fact(event_type=EventType.MESSAGE_EXPIRED, agent_id=cell.agent_id, details=_about(message))
        self._bury([self._letter(cell.agent_id, message, "expired")], [fact])

    def rejected(self, message: AgentMessage, names: Sequence[str]) -> None:
        """Note that full mailboxes refused a message."""
        ids = [self.resolve(name) for name in names]
        facts = [
            Fact(event_type=EventType.MESSAGE_REJECTED, agent_id=agent_id, details=_about(message)) for agent_id in ids
        ]
        self._bury([self._letter(agent_id, message, "full") for agent_id in ids], facts)

    def abandoned(self, cell: Cell, reason: str) -> None:
        """Make what is left in a cell's mailbox dead letters; durable mail is in the store."""
        rest = [message for message in cell.mailbox.drain() if not message.durable]
        if rest:
            self._bury([self._letter(cell.agent_id, message, reason) for message in rest], [])

    def _letter(self, recipient_id: str, message: AgentMessage, reason: str) -> DeadLetter:
        return DeadLetter(message=message, recipient_id=recipient_id, reason=reason, at=self.env.clock.now())

    def _bury(self, letters: Sequence[DeadLetter], facts: Sequence[Fact]) -> None:
        self.env.numbers.count("dead_letters", len(letters))
        burial = self.env.store.mail.bury(letters, now=self.env.clock.now(), facts=facts)
        self.env.spawn(_awaited(burial), "dead letters")

    def _note(self, *facts: Fact) -> None:
        self.env.spawn(_awaited(self.env.store.events.append(facts, now=self.env.clock.now())), "event")

    def deadlock(self, cycle: Sequence[str]) -> None:
        """Note a circle of waits."""
        self._note(
            Fact(event_type=EventType.DEADLOCK_DETECTED, node_id=self.env.node_id, details={"cycle": list(cycle)})
        )

    # -- hooks that failed

    def hook_failed(self, cell: Cell, hook: str, failure: Failure) -> None:
        """Note that a hook raised."""
        details: dict[str, object] = {
            "hook": hook,
            "type": failure.error_type,
            "text": failure.message,
            "traceback": failure.traceback,
        }
        self._note(Fact(event_type=EventType.AGENT_HOOK_FAILED, agent_id=cell.agent_id, details=details))


def _about(message: AgentMessage) -> dict[str, object]:
    return {
        "message_id": message.message_id,
        "message_type": message.message_type,
        "sender_id": message.sender_id,
        "recipient_ids": list(message.recipient_ids),
    }


def _check_seconds(name: str, seconds: object) -> None:
    if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0):
        raise ValueError(f"{name} must be above 0, or None, not {seconds!r:.80}")


async def _awaited(work: Any) -> None:
    await work
