"""Questions of a run that a person decides: asked once, waited for, found again after a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import ApprovalRequiredError
from shoal.kernel.budget import Refusal
from shoal.kernel.news import News
from shoal.kernel.ports import RunWrite
from shoal.kernel.run import Approval, ApprovalKind, RunEventType
from shoal.kernel.scope import Stopped

if TYPE_CHECKING:
    from shoal.kernel.liverun import LiveRun

__all__ = ["Asking", "canonical", "digest_of"]

LOOK_SECONDS = 1.0
"""How often a waiting run looks whether another process has decided, if no bell rang."""

Decide = Callable[[Approval], Awaitable[bool]]
"""A function of the program's own that decides."""


def canonical(value: object) -> bytes:
    """Return JSON with sorted keys: equal values give equal bytes."""
    return msgspec.json.encode(value, order="deterministic")


def digest_of(*parts: object) -> str:
    """Return the SHA-256 of *parts*, in hex digits."""
    return hashlib.sha256(canonical(parts)).hexdigest()


_BUDGET = "budget:"
"""How the step of a question begins that is about a budget: all that is done under it waits."""


class _Wait:
    """The time in which a question was open."""

    __slots__ = ("began", "ended", "step")

    def __init__(self, step: str, began: float) -> None:
        self.step = step
        self.began = began
        self.ended: float | None = None


class Asking:
    """The questions of one run."""

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self.news = News()  # woken when something was decided
        self.waiting = 0  # questions under way
        self._waits: list[_Wait] = []  # in the order in which they began

    def idle(self, path: str = "") -> float:
        """Return the seconds that *path* and what is below it have spent waiting for people, until now."""
        total, until = 0.0, 0.0
        for wait in self._waits:
            if not path or wait.step.startswith((f"{path}/", _BUDGET)):
                ended = self._run.clock.monotonic() if wait.ended is None else wait.ended
                total += max(0.0, ended - max(wait.began, until))
                until = max(until, ended)
        return total

    @contextmanager
    def _waiting_at(self, step: str) -> Iterator[None]:
        wait = _Wait(step, self._run.clock.monotonic())
        self._waits.append(wait)
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            wait.ended = self._run.clock.monotonic()

    async def approval(
        self,
        step: str,
        kind: ApprovalKind,
        *,
        agent_name: str = "",
        tool: str = "",
        arguments: Any = None,
        timeout: float | None = None,
        decide: Decide | None = None,
    ) -> Approval:
        """Ask, and return the question with its decision.

        It is bound to run, step, tool and canonical arguments: with others it is asked anew, and one that was decided
        before a restart is not asked again. In a durable run it is a row that anybody may decide; else *decide* does.

        Raises:
            ApprovalRequiredError: the run is not durable, and there is no *decide*.
            Stopped: ``on_wait="return"``.
        """
        run = self._run
        sha256 = digest_of(run.run_id, step, kind, tool, arguments)
        now = run.clock.now()
        question = Approval(
            id=f"{run.run_id}:{sha256[:16]}",
            run_id=run.run_id,
            step=step,
            agent_name=agent_name,
            kind=kind,
            tool=tool,
            arguments=arguments,
            sha256=sha256,
            asked_at=now,
            expires_at=None if timeout is None else now + timedelta(seconds=timeout),
        )
        if decide is not None and not run.durable:
            with self._waiting_at(step):
                approved = bool(await decide(question))
            return msgspec.structs.replace(question, decision="approved" if approved else "denied", decided_at=now)
        if not run.durable:
            raise ApprovalRequiredError(
                f"{tool or kind} of {agent_name or 'the run'} needs a person's approval, and nobody can be asked",
                tool=tool,
                note="Give Agent(approve=...), or run it with runtime.run and decide with runtime.runs.approve.",
            )
        return await self._wait_for(question)

    async def _wait_for(self, question: Approval) -> Approval:
        run = self._run
        asked = await self._ask(question)
        if asked.decision is not None:
            return asked
        if run.options.on_wait == "return":
            text = f"waits for the approval {asked.id}"
            note = "Decide it with runtime.runs.approve or deny, then run the same run_id again."
            stopped = Stopped(
                "waiting", text, ApprovalRequiredError(f"run {run.run_id} {text}", tool=asked.tool, note=note)
            )
            run.stop(stopped)
            raise stopped
        with self._waiting_at(asked.step):
            while (asked := await run.writer.approval(asked.id)).decision is None:
                if asked.expires_at is not None and run.clock.now() >= asked.expires_at:
                    asked = await run.writer.decide(asked.id, "expired", "", "", now=run.clock.now())
                    break
                await self._next_look(asked)
        data = {"id": asked.id, "decision": asked.decision, "by": asked.decided_by, "note": asked.note}
        run.feed.tell(asked.step, RunEventType.APPROVAL_GIVEN, asked.agent_name, data)
        if self.waiting:  # for the answer to another question
            await run.pen.write(RunWrite())
            return asked
        with run.feed.taken() as events:
            await run.pen.written(run.writer.resume, events)
        return asked

    async def _ask(self, question: Approval) -> Approval:
        run = self._run
        data = {"id": question.id, "kind": question.kind, "tool": question.tool, "arguments": question.arguments}
        run.feed.tell(question.step, RunEventType.APPROVAL_ASKED, question.agent_name, data)
        with run.feed.taken() as events:
            return await run.pen.written(run.writer.ask, question, events)

    async def _next_look(self, asked: Approval) -> None:
        clock = self._run.clock
        wait = LOOK_SECONDS
        if asked.expires_at is not None:
            wait = min(wait, max(0.0, (asked.expires_at - clock.now()).total_seconds()))
        with self.news.expected() as waiter:
            try:
                async with clock.timeout(wait):
                    await waiter
            except TimeoutError:
                return

    async def whether_to_go_on(self, refusal: Refusal) -> bool:
        """Ask whether a spent budget may be used as much again."""
        arguments = {"limit": refusal.limit, "allowed": refusal.allowed}  # what is spent changes with a restart
        asked = await self.approval(f"{_BUDGET}{refusal.account_id}", "budget", arguments=arguments)
        return asked.decision == "approved"
