"""Questions and answers: a request that waits, and a response that is waited for by its correlation."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentNotFoundError, ChainTooDeepError, DeadAgentError, ResponseTimeoutError, ShoalError
from shoal.kernel.agent import AgentStatus
from shoal.kernel.event import EventType, Fact
from shoal.kernel.message import AgentMessage, check_message_type, check_seconds
from shoal.kernel.probes import Probes
from shoal.kernel.undelivered import not_running

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.post import Post

__all__ = ["Asking"]

MAX_CHAIN = 64
REMEMBERED_QUESTIONS = 10_000


class Asking:
    """Who of this node waits for whose answer."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._env = post.env
        self._asked: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # by correlation: who was asked
        self._hoping: dict[str, set[asyncio.Future[AgentMessage]]] = {}  # by agent: who waits for a response from it
        self.probes = Probes(post)

    def remember(self, correlation_id: str, ids: tuple[str, ...]) -> None:
        """Note who was asked under a correlation: when they are gone, who waits for it hears."""
        self._asked[correlation_id] = ids
        if len(self._asked) > REMEMBERED_QUESTIONS:
            self._asked.popitem(last=False)

    def gone(self, agent_id: str, error: DeadAgentError) -> None:
        """Tell those who hope for a response of this agent."""
        for future in self._hoping.pop(agent_id, ()):
            if not future.done():
                future.set_exception(error)

    async def request(
        self, entry: Entry | None, recipient: str, message_type: str, data: Any, timeout_seconds: float | None
    ) -> AgentMessage:
        """Ask and wait for the answer."""
        check_message_type(message_type)
        check_seconds("timeout_seconds", timeout_seconds)
        sender = None if entry is None else entry.cell
        agent_id = self._post.resolve(recipient)
        here = self._post.cells.get(agent_id)
        now = self._env.clock.now()
        message = self._post.message(
            sender,
            message_type,
            data,
            recipient_ids=(agent_id,),
            expects_reply=True,
            expires_at=None if timeout_seconds is None else now + timedelta(seconds=timeout_seconds),
            chain=() if entry is None else _chain(entry),
            timestamp=now,
        )
        if here is None and not self._env.bus.has(agent_id):
            instance = self._env.store.agents.get(agent_id)
            raise not_running(instance)
        self._env.numbers.count("messages_sent")
        if entry is None:
            return await self._env.bus.request(agent_id, message, timeout_seconds)
        entry.waits_for = message
        try:
            with entry.cell.time.limit(timeout_seconds):
                if here is not None:
                    # No need of the bus: a cell tells its own askers of its end, and has refused a circle of waits.
                    return await here.inbox.ask(message)
                return await self.probes.guarded(entry, message, self._env.bus.request(agent_id, message, None))
        except TimeoutError as error:
            if isinstance(error, ShoalError):
                raise
            raise ResponseTimeoutError(f"No answer from {recipient!r} after {timeout_seconds:g} s") from None
        finally:
            entry.waits_for = None

    def answer(self, cell: Cell, message: AgentMessage, value: Any) -> None:
        """Send back what a handler returned: to who waits for it, or, without a wait, when there is
        something to say."""
        future = cell.inbox.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(self.response(cell, message, value, expires_at=None))
        elif value is not None and message.correlation_id is not None and len(message.recipient_ids) == 1:
            self._env.spawn(self.reply(cell, message, value), f"reply of {cell.name}")

    def response(
        self, sender: Cell | None, message: AgentMessage, data: Any, *, expires_at: datetime | None
    ) -> AgentMessage:
        """Return the message that answers *message*; one that is handed straight to its asker never waits."""
        return self._post.message(
            sender,
            "response",
            data,
            recipient_ids=(message.sender_id,),
            correlation_id=message.correlation_id or message.message_id,
            expires_at=expires_at,
        )

    async def reply(self, cell: Cell, message: AgentMessage, data: Any) -> None:
        """Answer *message*, whether its sender waits in ``request`` or for its correlation."""
        response = self.response(cell, message, data, expires_at=self._post.expiry())
        future = cell.inbox.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(response)
            return
        with contextlib.suppress(AgentNotFoundError):  # asked from outside any agent: nobody has a mailbox there
            await self._post.deliver([self._post.resolve(message.sender_id)], response)

    async def wait_for_response(self, cell: Cell, correlation_id: str, timeout: float | None) -> AgentMessage:
        """Wait for the message that answers *correlation_id*."""
        check_seconds("timeout_seconds", timeout)
        future = cell.inbox.mailbox.expect(correlation_id)
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
        if not asked or any(self._env.bus.has(agent_id) for agent_id in asked):
            return
        instance = self._env.store.agents.get(asked[0])
        if instance.status is not AgentStatus.PAUSED:
            future.set_exception(not_running(instance))

    def deadlock(self, cycle: Sequence[str]) -> None:
        """Note a circle of waits."""
        self._post.note(
            Fact(event_type=EventType.DEADLOCK_DETECTED, node_id=self._env.node_id, details={"cycle": list(cycle)})
        )


def _chain(entry: Entry) -> tuple[str, ...]:
    """Return the chain of what this invocation asks. Raises ChainTooDeepError."""
    chain = (*entry.invocation.chain, entry.invocation.invocation_id)
    if len(chain) > MAX_CHAIN:
        raise ChainTooDeepError(MAX_CHAIN)
    return chain
