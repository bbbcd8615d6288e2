"""One turn of a conversation: a question in, an answer out, with all model and tool calls that it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from shoal.errors import LoopDetectedError, OutputInvalidError
from shoal.kernel.bounded import end
from shoal.kernel.fences import FENCE_NOTE, Quote, compose
from shoal.kernel.run import Handoff, RunEventType, current_teammates
from shoal.kernel.scope import Scope, segment_of
from shoal.llm.caller import Caller, Calling, Prompt
from shoal.llm.calling import ModelCalls
from shoal.llm.conversations import Conversation, talking
from shoal.llm.looping import LoopGuard
from shoal.llm.memory import Summarize, healed, selected
from shoal.llm.model import ChatMessage, ModelReply, ToolCall
from shoal.llm.output import OUTPUT_TOOL, Unfit
from shoal.llm.results import ChatResult
from shoal.llm.tools import ToolRecord
from shoal.llm.transfers import Transfers

if TYPE_CHECKING:
    from shoal.llm.agent import Agent
    from shoal.llm.telling import Telling

__all__ = ["Question", "Turn"]

SUMMARY_SYSTEM = (
    "Summarize the conversation that you are given, for somebody who has to go on with it: "
    "names, numbers, what was decided, what is open. Give the summary only. " + FENCE_NOTE
)


class Question(NamedTuple):
    """What an agent is asked.

    conversation: in which. outside: it belongs to no run, so what is done is kept even if the turn fails.
    """

    message: str
    user_id: str
    conversation: Conversation
    outside: bool


class Turn:
    """One turn of *agent* at the place *scope*; *ordinal* counts its model calls in the run."""

    def __init__(
        self,
        agent: Agent[Any],
        calling: Calling,
        scope: Scope,
        question: Question,
        ordinal: Callable[[], int],
        telling: Telling | None = None,
    ) -> None:
        self._agent = agent
        self._scope = scope
        self._question = question
        self._telling = telling
        tokens = not question.outside and scope.run.options.tokens
        self._calls = ModelCalls(Caller(calling, scope, tokens, telling), ordinal)
        self._guard = LoopGuard(agent.loop)
        offered = current_teammates.get()
        members = offered.members if offered is not None and offered.place == scope.path else ()
        self._transfers = Transfers(members, agent.handoffs)
        self._history: list[ChatMessage] = []
        self._fresh: list[ChatMessage] = []
        self._flushed = 0
        self._summary: tuple[int, ChatMessage] | None = None
        self._records: list[ToolRecord] = []
        self._numbered = 0
        self._repairs = 0
        self._handoff: Handoff | None = None
        self._began = 0.0

    async def run(self) -> ChatResult[Any]:
        """Return the answer. Raises what makes one impossible; then the conversation is as before, but for tools run."""
        conversation = self._question.conversation
        self._began = self._scope.run.clock.monotonic()
        await conversation.enter(self._agent.name)
        try:
            return await self._answer()
        except asyncio.CancelledError:
            text = None if self._telling is None else self._telling.cancelled()
            if text is None:
                raise
            return await self._done(ModelReply(text=text or self._last_text(), finish_reason="cancelled"))
        finally:
            await conversation.leave()

    async def _answer(self) -> ChatResult[Any]:
        agent = self._agent
        await self._recall()
        self._fresh.append(ChatMessage(role="user", content=self._question.message))
        system = await self._system()
        tools = agent.toolbox.specs() + self._transfers.specs
        output = agent.output
        while True:
            messages = self._history + self._fresh
            reply = await self._calls.ask(Prompt(system, messages, tools, None if output is None else output.spec))
            self._fresh.append(
                ChatMessage(role="assistant", content=reply.text, tool_calls=reply.tool_calls, state=reply.state)
            )
            if reply.finish_reason == "cancelled":
                return await self._done(reply)
            if output is not None:
                try:
                    found = output.read(reply)
                except Unfit as unfit:
                    self._send_back(unfit, reply)
                    continue
                if found is not None:
                    self._answer_calls(reply, "accepted", "not run: the answer was given")
                    return await self._done(reply, *found)
            elif not reply.tool_calls:
                return await self._done(reply)
            await self._run_tools(reply.tool_calls)
            if self._handoff is not None:
                return await self._done(reply)

    # -- what it goes in with

    async def _recall(self) -> None:
        strategy = self._agent.strategy
        kept = self._question.conversation.kept
        messages = await kept.load()
        if isinstance(strategy, Summarize) and (count := strategy.due(messages)):
            summary = await self._summarized(messages[:count])
            messages = [summary, *messages[count:]]
            if self._question.outside:
                await kept.summarize(count, summary)
            else:
                self._summary = (count, summary)
        self._history = await selected(strategy, healed(messages)) if messages else []

    async def _summarized(self, messages: Sequence[ChatMessage]) -> ChatMessage:
        lines = "\n\n".join(f"{message.role}: {message.content or _told(message)}" for message in messages)
        text = compose(["The conversation:\n", Quote("conversation", lines)]).text
        reply = await self._calls.ask(Prompt(SUMMARY_SYSTEM, [ChatMessage(role="user", content=text)]), "summary")
        return ChatMessage(role="user", content=f"Summary of the conversation so far:\n{reply.text}")

    async def _system(self) -> str:
        agent = self._agent
        parts = [f"You are {agent.name}."]
        if agent.role:
            parts.append(agent.role)
        if agent.notes is not None:
            parts.append(await agent.notes.text(self._scope, agent.name, self._question.user_id))
        parts.append(FENCE_NOTE)
        return "\n\n".join(parts)

    # -- tools

    async def _run_tools(self, calls: Sequence[ToolCall]) -> None:
        handoffs = [self._transfers.handoff(call, self._agent.name) for call in calls]
        others = [call for call, handoff in zip(calls, handoffs, strict=True) if handoff is None]
        refusals = iter(self._refusals(others))
        if self._question.outside:
            await self._flush()  # whatever becomes of this process, the next turn knows what was begun
        work: list[Coroutine[Any, Any, ToolRecord | Handoff]] = []
        for call, handoff in zip(calls, handoffs, strict=True):
            if handoff is None:
                self._numbered += 1
                work.append(self._one(call, self._numbered, next(refusals)))
            else:
                work.append(_given(handoff))
        token = talking.set(talking.get() | {id(self._question.conversation)})
        try:
            found = await self._at_once(work)
        finally:
            talking.reset(token)
        for call, outcome in zip(calls, found, strict=True):
            self._take(call, outcome)

    def _take(self, call: ToolCall, outcome: ToolRecord | Handoff) -> None:
        if isinstance(outcome, ToolRecord):
            self._records.append(outcome)
            content = outcome.content
            if self._telling is not None:
                self._telling.tool_result(outcome)
        elif self._handoff is None:
            self._handoff = outcome
            content = f"handed over to {outcome.to}"
        else:
            content = f"not done: you have handed over to {self._handoff.to}"
        self._fresh.append(ChatMessage(role="tool", content=content, call_id=call.call_id, name=call.name))

    def _refusals(self, calls: Sequence[ToolCall]) -> list[str | None]:
        try:
            return self._guard.refusals(calls)
        except LoopDetectedError as error:
            data = {"kind": error.kind, "evidence": error.evidence}
            self._scope.run.feed.tell(self._scope.path, RunEventType.LOOP_DETECTED, self._agent.name, data)
            raise

    async def _one(self, call: ToolCall, number: int, refusal: str | None) -> ToolRecord:
        if refusal is not None:
            content = f"Refused: {refusal}."
            return ToolRecord(
                call_id=call.call_id,
                name=call.name,
                arguments=call.arguments,
                content=content,
                success=False,
                error=refusal,
            )
        return await self._agent.toolbox.run(
            call,
            scope=self._scope,
            segment=f"tool{number}:{segment_of(call.name)}",
            agent_name=self._agent.name,
            user_id=self._question.user_id,
            decide=self._agent.approve,
        )

    async def _at_once(self, work: list[Coroutine[Any, Any, ToolRecord | Handoff]]) -> list[ToolRecord | Handoff]:
        """Run all tools of a reply at once; results in the order of the calls."""
        if len(work) == 1:
            return [await work[0]]
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(each, name=f"tool of {self._agent.name}") for each in work]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            if left := [task for task in tasks if not task.done()]:
                await end(left, self._scope.run.clock)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [task.result() for task in tasks]

    # -- typed output

    def _send_back(self, unfit: Unfit, reply: ModelReply) -> None:
        self._repairs += 1
        if self._repairs > self._agent.output_retries:
            raise OutputInvalidError(unfit.text, unfit.reason, model=reply.model)
        told = f"The output is not valid: {unfit.reason}. Call {OUTPUT_TOOL} again with valid arguments."
        if unfit.call is None:
            self._fresh.append(ChatMessage(role="user", content=told))
        else:
            self._answer_calls(reply, told, "not run: the output was not valid")

    def _answer_calls(self, reply: ModelReply, output: str, others: str) -> None:
        for call in reply.tool_calls:
            content = output if call.name == OUTPUT_TOOL else others
            self._fresh.append(ChatMessage(role="tool", content=content, call_id=call.call_id, name=call.name))

    # -- the end of it

    async def _done(self, reply: ModelReply, output: Any = None, content: str | None = None) -> ChatResult[Any]:
        if self._summary is not None:
            await self._question.conversation.kept.summarize(*self._summary)
        await self._flush()
        scope = self._scope
        return ChatResult(
            content=reply.text if content is None else content,
            output=output,
            usage=scope.usage,
            duration_ms=(scope.run.clock.monotonic() - self._began) * 1000,
            model=reply.model,
            provider=reply.provider,
            finish_reason=reply.finish_reason,
            tool_calls=tuple(self._records),
            handoff=self._handoff,
            attempts=tuple(self._calls.attempts),
            run_id=scope.run.run_id,
            step=self._calls.last_step,
        )

    def _last_text(self) -> str:
        return next((message.content for message in reversed(self._fresh) if message.role == "assistant"), "")

    async def _flush(self) -> None:
        if new := self._fresh[self._flushed :]:
            self._flushed = len(self._fresh)
            await self._question.conversation.kept.add(new)


async def _given(handoff: Handoff) -> Handoff:
    return handoff


def _told(message: ChatMessage) -> str:
    return ", ".join(f"{call.name}({call.arguments})" for call in message.tool_calls)
