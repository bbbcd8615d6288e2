"""A call of a tool as a step of its run: decided on, done once, told; after a crash, what its effect allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from shoal.errors import ApprovalRequiredError, PayloadError, nearest
from shoal.kernel.ambient import Ambient
from shoal.kernel.asking_people import Decide, digest_of
from shoal.kernel.payload import checked
from shoal.kernel.run import Approval, RunEventType, RunStep
from shoal.kernel.scope import Scope, StepOrder, Ticket
from shoal.kernel.threads import DaemonPool
from shoal.kernel.usage import Usage
from shoal.llm.isolated import ambient_for
from shoal.llm.model import ToolCall
from shoal.llm.signatures import Call
from shoal.llm.toolcontext import ToolContext
from shoal.llm.toolrun import ToolRun
from shoal.llm.tools import Tool, ToolRecord
from shoal.llm.toolvalues import Outcome, cut, failed

__all__ = ["Place", "Request", "carry_out", "read_request"]

_NOTHING = Usage()


class Place(NamedTuple):
    """Where a call is made, for whom, and who may decide on it."""

    scope: Scope
    segment: str
    agent_name: str
    user_id: str
    decide: Decide | None
    pool: DaemonPool


class Request(NamedTuple):
    """What a model asks for, read: the tool and its arguments, or why nothing can be run."""

    call: ToolCall
    arguments: Any
    tool: Tool | None = None
    bound: Call = Call((), {})
    fault: str = ""


class _Done(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the journal keeps of a call: the whole text, and what agents used that the tool called."""

    content: str
    error: str | None = None
    warning: str = ""
    approved_by: str = ""
    duration_ms: float = 0.0
    nested: Usage = _NOTHING


def read_request(call: ToolCall, tool: Tool | None, names: Sequence[str]) -> Request:
    """Return what *call* asks for; with a fault, which names the tools there are, nothing is to be run."""
    known = f"The tools are: {', '.join(names)}." if names else "There are no tools."
    try:
        arguments = msgspec.json.decode(call.arguments.strip() or "{}")
        checked(arguments, "arguments")
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        why = f"the arguments of {call.name!r:.80} are not JSON: {error}; nothing was run. {known}"
        return Request(call, call.arguments, fault=why)
    except PayloadError as error:
        return Request(call, call.arguments, fault=f"{error}; nothing was run. {known}")
    if tool is None:
        why = f"there is no tool {call.name!r:.80}{nearest(call.name, names)}; nothing was run. {known}"
        return Request(call, arguments, fault=why)
    if not isinstance(arguments, dict):
        why = f"the arguments of {call.name!r} must be a JSON object; nothing was run. {known}"
        return Request(call, arguments, fault=why)
    try:
        return Request(call, arguments, tool, tool.signature.bind(arguments))
    except ValueError as error:
        why = f"the arguments of {call.name!r} are not valid: {error}; nothing was run. {known}"
        return Request(call, arguments, fault=why)


async def carry_out(request: Request, place: Place) -> ToolRecord:
    """Do what *request* asks for, once, and return how it went.

    Raises ApprovalRequiredError and ToolError before anything was run (nobody can be asked; there is no runtime to start a
    process), and what ends the whole run.
    """
    return await _Calling(request, place).record()


class _Calling:
    def __init__(self, request: Request, place: Place) -> None:
        self._request = request
        self._place = place
        self._scope = place.scope
        self._run = place.scope.run
        self._key = place.scope.key(place.segment)
        self._child = place.scope.child(place.segment)
        self._live = False  # it was not replayed
        self._approved_by = ""
        self._ambient: Ambient | None = None

    async def record(self) -> ToolRecord:
        request, place = self._request, self._place
        tool = request.tool
        digest = digest_of(request.call.name, request.arguments)
        refusal = failed(request.fault) if request.fault else None
        if tool is not None and self._is_new(digest):
            self._scope.check()
            if tool.effect != "once" or not self._was_begun(digest):  # then the question is how it went
                refusal = await self._refusal(tool)
            if refusal is None and tool.isolation not in ("inline", "thread"):
                self._ambient = ambient_for(tool.label, tool.isolation)
        order = StepOrder(
            segment=place.segment,
            kind="tool",
            agent_name=place.agent_name,
            digest=digest,
            effect=tool.effect if tool is not None and refusal is None else "repeat",
            note={"tool": request.call.name, "call_id": request.call.call_id},
        )
        return self._told(await self._scope.step(order, lambda ticket: self._do(ticket, refusal)))

    def _is_new(self, digest: str) -> bool:
        known = self._scope.recorded(self._place.segment)
        return known is None or (known.input_sha256 != digest and self._run.options.on_change == "rerun")

    def _was_begun(self, digest: str) -> bool:
        """Tell whether an earlier life began it, and a crash hid how it ended."""
        known = self._run.recorded.get(self._key)
        return known is not None and known.finished_at is None and known.input_sha256 == digest

    def _warn(self, warning: str) -> None:
        if warning and warning not in self._run.warnings:
            self._run.warnings.append(warning)

    def _told(self, step: RunStep) -> ToolRecord:
        done = msgspec.convert(step.output, _Done)
        self._warn(done.warning)
        if not self._live and done.nested != _NOTHING:
            self._child.add(done.nested)
        call, tool = self._request.call, self._request.tool
        return ToolRecord(
            call_id=call.call_id,
            name=call.name,
            arguments=self._request.arguments,
            content=done.content if tool is None else cut(done.content, tool.max_chars),
            success=done.error is None,
            error=done.error,
            duration_ms=done.duration_ms,
            approved_by=done.approved_by,
            replayed=not self._live,
        )

    # -- a person decides

    async def _ask(self, tool: Tool, *, outcome: bool = False) -> Approval:
        return await self._run.asking.approval(
            # An answer to the one question must never be taken for one to the other.
            f"{self._key}:outcome" if outcome else self._key,
            "outcome" if outcome else "tool",
            agent_name=self._place.agent_name,
            tool=self._request.call.name,
            arguments=self._request.arguments,
            timeout=tool.approval_timeout,
            decide=self._place.decide,
        )

    async def _refusal(self, tool: Tool) -> Outcome | None:
        name = self._request.call.name
        try:
            if not tool.wants_approval(self._request.arguments):
                return None
        except Exception as error:  # noqa: BLE001  the tool's own code: what cannot be told is not run
            return failed(
                f"whether {name!r} needs an approval could not be told ({failed(error).error}); it was not run"
            )
        asked = await self._ask(tool)
        if asked.decision == "approved":
            self._approved_by = asked.decided_by or "approve"
            return None
        if asked.decision == "expired":
            return failed(f"nobody decided within {tool.approval_timeout:g} s whether {name!r} may run; it was not run")
        by = f" by {asked.decided_by}" if asked.decided_by else ""
        return failed(f"{name!r} was denied{by}{f': {asked.note}' if asked.note else ''}; it was not run")

    # -- the step

    async def _do(self, ticket: Ticket, refusal: Outcome | None) -> Any:
        self._live = True
        tool = self._request.tool
        before = self._run.clock.monotonic()
        if refusal is not None or tool is None:
            assert refusal is not None, "without a tool there is a fault"
            outcome = refusal
        elif tool.effect == "once" and ticket.repeated:
            outcome = await self._outcome_of_old(tool)
        else:
            ticket.usage = Usage(tool_calls=1)
            outcome = await self._run_it(tool, ticket)
        done = _Done(
            content=outcome.content,
            error=outcome.error,
            warning=outcome.warning,
            approved_by=self._approved_by,
            duration_ms=(self._run.clock.monotonic() - before) * 1000,
            nested=self._child.usage,
        )
        return msgspec.to_builtins(done)

    async def _run_it(self, tool: Tool, ticket: Ticket) -> Outcome:
        request, place = self._request, self._place
        context = ToolContext(
            key=digest_of(self._run.run_id, ticket.key),
            run_id=self._run.run_id,
            agent_name=place.agent_name,
            user_id=place.user_id,
            call_id=request.call.call_id,
        )
        news = {"tool": request.call.name, "call_id": request.call.call_id}
        self._child.tell(RunEventType.TOOL_STARTED, place.agent_name, **news, arguments=request.arguments)
        work = ToolRun(tool, request.bound, context, place.pool, self._run.clock)
        began = self._run.clock.monotonic()
        try:
            with self._child.entered():
                outcome = await work.outcome(self._ambient)
            if work.warning:
                outcome = msgspec.structs.replace(outcome, warning=work.warning)
        except BaseException as error:
            self._tell_end(news, failed(error), began)
            raise
        finally:
            self._warn(work.warning)
        self._tell_end(news, outcome, began)
        return outcome

    def _tell_end(self, news: dict[str, str], outcome: Outcome, began: float) -> None:
        took = (self._run.clock.monotonic() - began) * 1000
        end = {"success": outcome.error is None, "error": outcome.error, "duration_ms": took}
        self._child.tell(RunEventType.TOOL_FINISHED, self._place.agent_name, **news, **end)

    async def _outcome_of_old(self, tool: Tool) -> Outcome:
        """Say how a run went that a crash hid, and that must not be done again."""
        name = self._request.call.name
        try:
            asked = await self._ask(tool, outcome=True)
        except ApprovalRequiredError:
            asked = None
        if asked is None or asked.decision == "expired":
            return failed(
                f"the process ended while {name!r} ran, so it is not known whether it was done; it was not run again"
            )
        by = f" ({asked.decided_by})" if asked.decided_by else ""
        self._approved_by = asked.decided_by
        if asked.decision == "approved":
            return Outcome(content=asked.note or f"{name!r} was done: a person{by} has looked.")
        return failed(f"{name!r} was not done{f': {asked.note}' if asked.note else ''}; a person{by} has looked")
