"""Questions and answers: a request that waits, and a response that is waited for by its correlation."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import AgentNotFoundError, DeadAgentError, ResponseTimeoutError, ShoalError
from shoal.kernel.agent import AgentStatus
from shoal.kernel.event import EventType, Fact
from shoal.kernel.fault import Fault, error_of, fault_of
from shoal.kernel.message import AgentMessage, check_message_type, check_seconds
from shoal.kernel.probes import Probes
from shoal.kernel.redelivery import put_back
from shoal.kernel.undelivered import not_running

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell
    from shoal.kernel.entry import Entry
    from shoal.kernel.inbox import Inbox
    from shoal.kernel.post import Post

__all__ = ["Asking"]

REMEMBERED_QUESTIONS = 10_000
Hope = asyncio.Future[AgentMessage]


class _Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """What another node hears of a question that one of its agents sent under a correlation."""

    asker: str
    correlation_id: str
    fault: Fault


class Asking:
    """Who of this node waits for whose answer."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._env = post.env
        self._asked: OrderedDict[str, tuple[str, ...]] = OrderedDict()  # by correlation: who was asked
        self._hoping: dict[str, dict[Hope, set[str]]] = {}  # by agent: who waits for it, and for whom besides
        self._over: OrderedDict[tuple[str, str], BaseException] = OrderedDict()  # by asker, correlation: why none comes
        self.probes = Probes(post)

    def remember(self, message: AgentMessage, correlation_id: str) -> None:
        """Note who is asked under a correlation: when they are all gone, who waits for it hears."""
        self._over.pop((message.sender_id, correlation_id), None)
        self._asked[correlation_id] = message.recipient_ids
        if len(self._asked) > REMEMBERED_QUESTIONS:
            self._asked.popitem(last=False)

    def gone(self, agent_id: str, error: DeadAgentError) -> None:
        """Tell those who hope for a response of this agent, and of nobody else any more."""
        for future, left in self._hoping.pop(agent_id, {}).items():
            left.discard(agent_id)
            if not left and not future.done():
                future.set_exception(copy.copy(error))

    def unanswered(self, message: AgentMessage, error: BaseException) -> None:
        """Tell the agent that waits for a correlation, or will, that no answer comes: who was asked is done with the
        message."""
        asker, correlation_id = message.sender_id, message.correlation_id
        if correlation_id is None or len(message.recipient_ids) != 1:
            return
        if asker in self._post.cells:
            self._refuse(asker, correlation_id, error)
        elif self._env.bus.has(asker):
            told = _Unanswered(asker=asker, correlation_id=correlation_id, fault=fault_of(error))
            self._env.bus.ring("unanswered", msgspec.json.encode(told).decode(), here=False)

    def hear(self) -> list[Callable[[], None]]:
        """Begin to hear what other nodes tell of questions; returns what ends it."""
        return [self._env.bus.hear("unanswered", self._heard_unanswered), *self.probes.hear()]

    def _heard_unanswered(self, note: str) -> None:
        told = msgspec.json.decode(note, type=_Unanswered)
        if told.asker in self._post.cells:
            self._refuse(told.asker, told.correlation_id, error_of(told.fault))

    def _refuse(self, asker: str, correlation_id: str, error: BaseException) -> None:
        self._post.cells[asker].inbox.mailbox.refuse(correlation_id, error)
        self._over[asker, correlation_id] = error
        if len(self._over) > REMEMBERED_QUESTIONS:
            self._over.popitem(last=False)

    def request(
        self, entry: Entry | None, recipient: str, message_type: str, data: Any, timeout_seconds: float | None
    ) -> Awaitable[AgentMessage]:
        """Ask; what is returned waits for the answer."""
        check_message_type(message_type)
        check_seconds("timeout_seconds", timeout_seconds)
        agent_id = self._post.resolve(recipient)
        here = self._post.cells.get(agent_id)
        message = self._post.writing.question(entry, agent_id, message_type, data, timeout_seconds)
        if here is None and not self._env.bus.has(agent_id):
            raise not_running(self._env.store.agents.get(agent_id))
        self._env.numbers.count("messages_sent")
        if entry is None:
            return self._env.bus.request(agent_id, message, timeout_seconds)
        if here is None:
            return self._ask_elsewhere(entry, message, recipient, timeout_seconds)
        return _ask_here(entry, here.inbox, message, recipient, timeout_seconds)

    async def _ask_elsewhere(
        self, entry: Entry, message: AgentMessage, recipient: str, seconds: float | None
    ) -> AgentMessage:
        """Ask an agent of another node: a circle of waits is found by probes."""
        asked = message.recipient_ids[0]
        entry.waits_for = message
        try:
            with entry.cell.time.limit(seconds):
                return await self.probes.guarded(entry, message, self._env.bus.request(asked, message, None))
        except TimeoutError as error:
            if isinstance(error, ShoalError) or seconds is None:
                raise
            raise _late(recipient, seconds) from None
        finally:
            entry.waits_for = None

    def answer(self, cell: Cell, message: AgentMessage, value: Any) -> None:
        """Send back what a handler returned: to who waits for it, or, without a wait, when there is
        something to say."""
        future = cell.inbox.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(self._post.writing.response(cell, message, value, None))
        elif message.expects_reply and value is not None:
            self.late(message)
        elif value is not None and message.correlation_id is not None and len(message.recipient_ids) == 1:
            self._env.spawn(self.reply(cell, message, value), f"reply of {cell.name}")

    async def reply(self, cell: Cell, message: AgentMessage, data: Any) -> None:
        """Answer *message*, whether its sender waits in ``request`` or for its correlation."""
        writing = self._post.writing
        response = writing.response(cell, message, data, writing.expiry())
        future = cell.inbox.asks.get(message.message_id)
        if future is not None:
            if not future.done():
                future.set_result(response)
            return
        if message.expects_reply:
            self.late(message)
            return
        with contextlib.suppress(AgentNotFoundError):  # asked from outside any agent: nobody has a mailbox there
            await self._post.deliver([self._post.resolve(message.sender_id)], response)

    def late(self, message: AgentMessage) -> None:
        """Drop the answer to a question whose asker waits no longer, and count it."""
        if message.expects_reply:
            self._env.numbers.count("late_replies")

    async def wait_for_response(self, cell: Cell, correlation_id: str, timeout: float | None) -> AgentMessage:
        """Wait for the message that answers *correlation_id*."""
        check_seconds("timeout_seconds", timeout)
        future = cell.inbox.mailbox.expect(correlation_id)
        asked = self._asked.get(correlation_id, ())
        left = set(asked)
        try:
            if not future.done():
                for agent_id in asked:
                    self._hoping.setdefault(agent_id, {})[future] = left
                self._check_hope(cell, correlation_id, future)
            with cell.time.limit(timeout):
                return await _kept(future, cell)
        except TimeoutError as error:
            if isinstance(error, ShoalError):
                raise
            raise ResponseTimeoutError(f"No response to {correlation_id[:80]!r} after {timeout:g} s") from None
        finally:
            future.cancel()
            for agent_id in asked:
                hoping = self._hoping.get(agent_id)
                if hoping is not None:
                    hoping.pop(future, None)
                    if not hoping:
                        del self._hoping[agent_id]

    def _check_hope(self, cell: Cell, correlation_id: str, future: Hope) -> None:
        """End a wait at once when it is known that no answer comes, or all who were asked are gone."""
        over, asked = self._over.pop((cell.agent_id, correlation_id), None), self._asked.get(correlation_id, ())
        if over is not None:
            future.set_exception(over)
        elif not asked or any(self._env.bus.has(agent_id) for agent_id in asked):
            return
        else:
            instance = self._env.store.agents.get(asked[0])
            if instance.status is not AgentStatus.PAUSED:
                future.set_exception(not_running(instance))

    def deadlock(self, cycle: Sequence[str]) -> None:
        """Note a circle of waits."""
        self._post.note(
            Fact(event_type=EventType.DEADLOCK_DETECTED, node_id=self._env.node_id, details={"cycle": list(cycle)})
        )


async def _kept(future: Hope, cell: Cell) -> AgentMessage:
    """Wait for a message that leaves the mailbox when it comes; who is cancelled in that moment has not had it."""
    try:
        return await future
    except asyncio.CancelledError:
        if future.done() and not future.cancelled() and future.exception() is None:
            put_back(cell, [future.result()])
        raise


async def _ask_here(
    entry: Entry, inbox: Inbox, message: AgentMessage, recipient: str, seconds: float | None
) -> AgentMessage:
    """Ask an agent of this node. No need of the bus: a cell tells its own askers of its end, and has refused a circle
    of waits."""
    answer = inbox.question(message)
    entry.waits_for = message
    timer = None
    if seconds is not None:
        timer = entry.cell.time.timer(seconds, partial(_give_up, answer, recipient, seconds))
    try:
        return await answer
    finally:
        entry.waits_for = None
        if timer is not None:
            timer.cancel()
        inbox.close_question(message, answer)


def _give_up(answer: asyncio.Future[AgentMessage], recipient: str, seconds: float) -> None:
    if not answer.done():
        answer.set_exception(_late(recipient, seconds))


def _late(recipient: str, seconds: float) -> ResponseTimeoutError:
    return ResponseTimeoutError(f"No answer from {recipient!r} after {seconds:g} s")
