"""An agent: a language model with a role, tools and a memory."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic

import msgspec

from shoal.errors import nearest
from shoal.kernel.budget import LoopLimits
from shoal.kernel.run import Approval
from shoal.kernel.scope import Scope, current_scope
from shoal.kernel.taskrun import present_scope
from shoal.llm.agentchecks import check_agent, check_message
from shoal.llm.caller import Calling
from shoal.llm.conversations import Conversation, Conversations
from shoal.llm.gates import present_gate
from shoal.llm.memory import MemoryStrategy, strategy_of
from shoal.llm.messages import MessageStore
from shoal.llm.model import ChatMessage, Model, ToolSpec
from shoal.llm.output import Output
from shoal.llm.places import is_outside, place_now
from shoal.llm.providers import open_model
from shoal.llm.results import ChatResult
from shoal.llm.retrying import Gate
from shoal.llm.streams import ChatStream, LiveStream, Streams
from shoal.llm.telling import Telling
from shoal.llm.toolbox import Toolbox
from shoal.llm.toolcontext import ToolContext
from shoal.llm.tools import Tool
from shoal.llm.turn import Question, Turn
from shoal.llm.usernotes import UserNotes
from shoal.llm.users import UserContextStore

__all__ = ["Agent"]

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    T = TypeVar("T", default=Any)  # an agent without an output_type is an Agent[Any]
else:
    from typing import TypeVar

    T = TypeVar("T")

AS_TOOL_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Agent(Generic[T]):
    """A language model with a role, tools and a memory. It holds no state of a run: one object serves many at once.

    Args:
        role: what it is, word for word in the system text.
        name: by which others know it.
        provider: such as ``"openai"``; alone it stands for that provider's default model.
        api_key: without it the provider's own environment variable is read. It appears in no repr, log or error.
        model: ``"provider:name"``, a bare name beside *provider* or *base_url*, a ``Model``, or one of pydantic-ai.
        base_url: any OpenAI-compatible server.
        temperature: None: the provider's default.
        max_tokens: the most that one reply may have.
        tools: functions, Tools, ``agent.as_tool()``, MCPTools.
        output_type: what it answers in: a msgspec Struct, dataclass, TypedDict, builtin type or pydantic model.
        memory: what the model is shown of the conversation: ``"last_n"`` (50), ``"first_last"`` (2, 20),
            ``"token_window"`` (16,000), ``"summarize"`` (all but 10, when over 40), ``"all"``, or a ``MemoryStrategy``.
        store: where conversations outside of runs are kept; None: in this object.
        fallback: models that are asked in turn when the one before fails.
        cheap_model: takes their place when a budget has reached its ``cheap_at``.
        timeout: seconds for one attempt of a model call.
        retries: further attempts of one, after errors that may pass.
        output_retries: how often invalid output goes back to the model.
        loop: when tool calls that go in circles are ended.
        user_context: whether it is shown what is known of its user, and may add to it.
        handoffs: in a team, to whom it may hand over; None: to all.
        approve: decides on approvals, ``async (Approval) -> bool``, where no runtime asks people.
        price: (input, output) in USD per million tokens, when the price of the model is not known.
        settings: the provider's own settings, for every call.

    Raises:
        TypeError, ValueError: a field, its value and what is allowed.
        ConfigError: no such provider, no key, no model. MissingExtraError: a real model without the extra ``llm``.
    """

    journaled: ClassVar[bool] = True  # its model and tool calls are steps of their own

    role: str = ""
    name: str = "Assistant"
    provider: str | None = None
    api_key: str | None = field(default=None, repr=False)
    model: str | Model | None = None
    base_url: str | None = None
    temperature: float | None = None
    max_tokens: int = 4096
    tools: Sequence[Any] = ()
    output_type: type[T] | None = None
    memory: str | MemoryStrategy = "last_n"
    store: MessageStore | None = None
    fallback: Sequence[str | Model] = ()
    cheap_model: str | Model | None = None
    timeout: float = 60.0
    retries: int = 2
    output_retries: int = 2
    loop: LoopLimits = LoopLimits()  # noqa: RUF009  it is frozen
    user_context: bool = False
    handoffs: Sequence[str] | None = None
    approve: Callable[[Approval], Awaitable[bool]] | None = None
    price: tuple[float, float] | None = None
    settings: Mapping[str, Any] | None = field(default=None, repr=False)  # it may hold headers

    calling: Calling = field(init=False, repr=False)
    toolbox: Toolbox = field(init=False, repr=False)
    output: Output | None = field(init=False, repr=False)
    strategy: MemoryStrategy = field(init=False, repr=False)
    notes: UserNotes | None = field(init=False, repr=False)
    _conversations: Conversations = field(init=False, repr=False)
    _streams: Streams = field(init=False, repr=False)
    _ordinals: itertools.count[int] = field(init=False, repr=False)
    _origin: Agent[Any] = field(
        init=False, repr=False
    )  # of forks that keep the name: their replies are counted together

    def __post_init__(self) -> None:
        check_agent(self)
        notes = self._user_notes() if self.user_context else None
        made = {
            "output": None if self.output_type is None else Output(self.output_type),
            "toolbox": Toolbox([*self.tools, notes.tool] if notes is not None else self.tools),
            "calling": self._how_it_calls(),
            "strategy": strategy_of(self.memory),
            "notes": notes,
            "_conversations": Conversations(self.name, self.store),
            "_streams": Streams(),
            "_ordinals": itertools.count(),
            "_origin": self,
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    def _user_notes(self) -> UserNotes:
        return UserNotes(None if self.store is None else UserContextStore(self.store.conn))

    def _how_it_calls(self) -> Calling:
        main = open_model(
            self.model, provider=self.provider, api_key=self.api_key, base_url=self.base_url, price=self.price
        )
        return Calling(
            agent_name=self.name,
            models=(main, *(open_model(each) for each in self.fallback)),
            cheap=None if self.cheap_model is None else open_model(self.cheap_model),
            gate=Gate(),
            retries=self.retries,
            timeout=self.timeout,
            temperature=self.temperature,
            max_tokens=self.max_tokens,
            settings=dict(self.settings or {}),
        )

    # -- talking

    async def chat(self, message: str, user_id: str = "default", thread_id: str | None = None) -> ChatResult[T]:
        """Return its answer to *message*.

        In a run it has a conversation of that run, or of the room that a pattern gave it (``Scope.room``), empty at the
        start; outside it goes on with its own, one for each user and thread. A second chat on one waits for the first.

        Args:
            message: what it is asked; not empty.
            user_id: for whom.
            thread_id: which of the user's conversations; with a *store*, the thread there.

        Raises:
            ModelError: the model did not answer, its fallbacks neither. OutputInvalidError: not in the form asked for.
            LoopDetectedError, BudgetExceededError, ApprovalRequiredError: it was ended. ValueError, TypeError: *message*.
        """
        check_message(message)
        outside = is_outside()
        scope = await present_scope(self.name)
        return await self._turn(scope, message, (user_id, thread_id), outside=outside)

    def stream(self, message: str, user_id: str = "default", thread_id: str | None = None) -> ChatStream[T]:
        """Return its answer to *message* while it comes; arguments and errors are those of ``chat``.

        It goes on whether or not anybody reads, but in a run no longer than whoever asked for it.
        """
        check_message(message)
        outside = is_outside()

        def chat(scope: Scope, telling: Telling) -> Awaitable[ChatResult[T]]:
            return self._turn(scope, message, (user_id, thread_id), outside=outside, telling=telling)

        place = place_now(self.name) or partial(present_scope, self.name)
        return LiveStream(self.name, place, chat, self._streams.add, bound=not outside).read()

    def stream_again(self, stream_id: str, after: int = 0) -> ChatStream[T]:
        """Return a stream of this agent from the offset *after* on. Raises LookupError: it is not known here."""
        return self._streams.get(stream_id).read(after)

    async def _turn(
        self,
        scope: Scope,
        message: str,
        thread: tuple[str, str | None],
        *,
        outside: bool,
        telling: Telling | None = None,
        conversation: Conversation | None = None,
    ) -> ChatResult[T]:
        await self.toolbox.open()
        talk = conversation or self._conversation(scope, thread, outside)
        gate = present_gate()
        calling = self.calling if gate is None else self.calling._replace(gate=gate)
        ordinals = (
            self._ordinals if outside else scope.run.notes.setdefault((self._origin, "ordinals"), itertools.count())
        )
        turn = Turn(self, calling, scope, Question(message, thread[0], talk, outside), ordinals.__next__, telling)
        return await turn.run()

    def _conversation(self, scope: Scope, thread: tuple[str, str | None], outside: bool) -> Conversation:
        if outside:
            return self._conversations.get(*thread)
        place = (self, thread, scope.room)
        found: Conversation | None = scope.run.notes.get(place)
        if found is None:
            found = scope.run.notes[place] = Conversations.of_run()
        return found

    # -- what a run carries out

    async def carry_out(self, scope: Scope, input: Any, *, user_id: str, context: str) -> ChatResult[T]:
        """Answer as a run of its own (``Runnable``)."""
        check_message(input)
        message = f"{context}\n\n{input}" if context else input
        return await self._turn(scope.settle_in(self.name), message, (user_id, None), outside=False)

    def decode_result(self, data: Any) -> ChatResult[T]:
        """Return a result that was stored (``Runnable``)."""
        found = msgspec.convert(data, ChatResult[Any])
        if self.output is None or found.output is None:
            return found
        return msgspec.structs.replace(found, output=self.output.value(found.output))

    # -- the agent itself

    def fork(self, **changes: Any) -> Agent[Any]:
        """Return a new agent with *changes*, without history. Raises TypeError: no such field."""
        known = [each.name for each in fields(self) if each.init]
        for name in changes:
            if name not in known:
                raise TypeError(f"an Agent has no field {name[:80]!r}{nearest(name, known)}")
        made = replace(self, **changes)
        if made.name == self.name and made.model is self.model:
            object.__setattr__(made, "_origin", self._origin)
        return made

    async def reset(self, user_id: str = "default", thread_id: str | None = None) -> None:
        """Forget a conversation."""
        await self._talk(user_id, thread_id).kept.clear()

    async def history(self, user_id: str = "default", thread_id: str | None = None) -> tuple[ChatMessage, ...]:
        """Return the messages of a conversation, oldest first."""
        return tuple(await self._talk(user_id, thread_id).kept.load())

    def _talk(self, user_id: str, thread_id: str | None) -> Conversation:
        scope = current_scope.get()
        if scope is None:
            return self._conversations.get(user_id, thread_id)
        return self._conversation(scope, (user_id, thread_id), False)

    def as_tool(self, name: str | None = None, description: str | None = None) -> Tool:
        """Return a tool by which another agent asks this one; each call is a conversation of its own.

        Args:
            name: default: this agent's name, with ``_`` for what a tool's name may not have.
            description: default: its role.
        """

        async def ask(context: ToolContext, message: str) -> str:
            check_message(message)
            scope = await present_scope(self.name)
            alone = Conversations.of_run()
            result = await self._turn(scope, message, (context.user_id, None), outside=False, conversation=alone)
            return result.content

        fallback = "".join(each if each.isascii() and (each.isalnum() or each in "_-") else "_" for each in self.name)
        told = description or self.role or f"Asks {self.name}."
        return Tool(ask, name=name or fallback[:64], description=told, timeout=AS_TOOL_SECONDS)

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what its model is told of its tools."""
        return self.toolbox.specs()
