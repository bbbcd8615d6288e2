"""One run of a team: who speaks, what he is told, and when it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from shoal.errors import LoopDetectedError
from shoal.kernel.asking_people import digest_of
from shoal.kernel.budget import LoopLimits
from shoal.kernel.failure import Failure
from shoal.kernel.fences import Quote, compose
from shoal.kernel.run import Handoff, RunEventType, StopReason, Teammate, Teammates, current_teammates
from shoal.kernel.scope import Scope, segment_of
from shoal.orchestration.agents import name_of
from shoal.orchestration.calling import CONTROL, TIMEOUT, call_at, check_refused, unfinished
from shoal.orchestration.functions import Function
from shoal.orchestration.results import AgentResult, TeamMessage, TeamResult

__all__ = ["Rules", "Turns"]


class Rules(Protocol):
    """What a team says of its turns (``Team``)."""

    agents: Iterable[Any]
    turn: str | Callable[..., Any]
    entry: str | None
    max_turns: int
    stop: str | Callable[..., Any] | None
    turn_timeout: float | None
    loop: LoopLimits


class _Over(Exception):
    """The team has come to its end."""

    def __init__(self, stopped: StopReason | None = None, error: str | None = None, *, success: bool = False) -> None:
        self.stopped: StopReason | None = stopped
        self.error = error
        self.success = success
        super().__init__(error or stopped or "done")


class Turns:
    """One run of a team at *scope*."""

    def __init__(self, rules: Rules, scope: Scope, task: str, *, user_id: str, context: str) -> None:
        self._rules = rules
        self._scope = scope
        self._task = task
        self._context = context
        self._user_id = user_id
        self._agents = {name_of(agent): agent for agent in rules.agents}
        self._messages: list[TeamMessage] = []
        self._handoffs: list[Handoff] = []
        self._told: set[str] = set()  # who was told the known names
        self._fresh = True  # whether the last turn was taken in this life of the run
        self._over: _Over | None = None

    def result(self) -> TeamResult:
        """Return the result of what was said; before the end, with what a pattern whose turn it is has finished."""
        messages = list(self._messages)
        if self._over is None:
            messages += [self._message(said) for said in unfinished(self._scope)]
        end = self._over or _Over()
        last = next((said.content for said in reversed(messages) if said.success or said.content), "")
        return TeamResult(
            content=last,
            success=end.success,
            stopped=end.stopped,
            error=end.error,
            messages=tuple(messages),
            handoffs=tuple(self._handoffs),
            final_agent=messages[-1].agent_name if messages else "",
            turns=len(messages),
        )

    async def work(self) -> None:
        """Take turns until the end."""
        try:
            speaker, handoff = await self._first(), None
            while True:
                self._scope.check()
                said = await self._turn(speaker, handoff)
                self._scope.check()  # it may have come to the end of the budget
                await self._look_for_the_end(said)
                handoff = said.handoff
                speaker = await self._next(speaker, handoff)
        except _Over as over:
            self._over = over

    # -- one turn

    async def _turn(self, speaker: str, handoff: Handoff | None) -> AgentResult:
        """Let *speaker* speak, to whom *handoff* has led. A handoff to nobody is told once, then it is the end."""
        said = await self._say(speaker, self._prompt(speaker, handoff))
        problem = self._problem(speaker, said.handoff)
        if problem and speaker not in self._told and len(self._messages) < self._rules.max_turns:
            self._told.add(speaker)
            self._scope.check()
            await self._look_for_the_end(said)
            said = await self._say(speaker, self._prompt(speaker, handoff, again=problem))
            problem = self._problem(speaker, said.handoff)
        if problem:
            raise _Over("error", f"{speaker}: {problem}")
        return said

    async def _say(self, speaker: str, prompt: str) -> AgentResult:
        turn = len(self._messages) + 1
        done = len(self._scope.run.recorded)
        key = f"t{turn}:{speaker}"
        token = current_teammates.set(self._teammates(speaker, key))
        try:
            said = await call_at(
                self._scope,
                self._agents[speaker],
                prompt,
                key=key,
                timeout=self._rules.turn_timeout,
                user_id=self._user_id,
                index=turn - 1,
            )
        finally:
            current_teammates.reset(token)
        check_refused(self._scope, said)
        message = self._message(said)
        self._messages.append(message)
        self._fresh = len(self._scope.run.recorded) > done  # else it was told before
        if self._fresh:
            self._scope.tell(
                RunEventType.MESSAGE, speaker, content=said.content, turn=turn, success=said.success, error=said.error
            )
        return said

    def _teammates(self, speaker: str, key: str) -> Teammates | None:
        if self._rules.turn != "handoff":
            return None
        roles = {name: getattr(agent, "role", "") for name, agent in self._agents.items() if name != speaker}
        members = tuple(Teammate(name, role if isinstance(role, str) else "") for name, role in roles.items())
        return Teammates(self._scope.key(segment_of(key)), members)

    def _message(self, said: AgentResult) -> TeamMessage:
        return TeamMessage(
            agent_name=said.agent_name,
            content=said.content,
            turn=said.index + 1,
            success=said.success,
            error=said.error,
            duration_ms=said.duration_ms,
            usage=said.usage,
        )

    # -- what is said to the speaker

    def _prompt(self, speaker: str, handoff: Handoff | None, again: str = "") -> str:
        """Return task, context, who has handed over and why, and the conversation, texts of agents within fences."""
        if not self._messages:
            return f"{self._context}\n\n{self._task}" if self._context else self._task
        parts: list[str | Quote] = [f"Task: {self._task}"]
        if self._context:
            parts.append(f"\n\nContext: {self._context}")
        if handoff is not None:
            sender = self._messages[-1].agent_name  # whatever the handoff says
            parts.append(f"\n\n{sender} has handed over to you.")
            for title, text in (("Reason", handoff.reason), ("Message", handoff.message)):
                if text:
                    parts += [f"\n{title}:\n", Quote(sender, text)]
        parts.append("\n\nThe conversation so far:\n")
        for message in self._messages:
            text = message.content if message.success else f"[Error: {message.error}]"
            parts += [Quote(message.agent_name, text), "\n"]
        parts.append(f"\n{again}" if again else f"\nIt is your turn, {speaker}.")
        composed = compose(parts)
        if composed.left_out:
            self._scope.tell(RunEventType.CONTEXT_CUT, speaker, left_out=composed.left_out)
        return composed.text

    # -- who is next

    async def _first(self) -> str:
        if self._rules.entry is not None:
            return self._rules.entry
        return await self._named() if callable(self._rules.turn) else next(iter(self._agents))

    async def _next(self, speaker: str, handoff: Handoff | None) -> str:
        """Return who speaks next. Raises _Over when nobody does."""
        turn = self._rules.turn
        if handoff is None and turn == "handoff":
            raise _Over(success=True)
        receiver = None if handoff is None else self._handed_over(speaker, handoff)
        if len(self._messages) >= self._rules.max_turns:
            raise self._limit(handed_over=receiver is not None)
        if receiver is not None:
            return receiver
        if callable(turn):
            return await self._named()
        names = list(self._agents)
        return names[(names.index(speaker) + 1) % len(names)]

    async def _named(self) -> str:
        """Return whom the function names."""
        assert callable(self._rules.turn)
        name = await self._decided("next", self._rules.turn, (str, type(None)))
        if name is None:
            raise _Over(success=bool(self._messages) and self._messages[-1].success)
        if name not in self._agents:
            raise _Over("error", f"turn returned {name!r:.80}: the agents are {', '.join(self._agents)}")
        return str(name)

    async def _decided(self, what: str, function: Callable[..., Any], allowed: tuple[type, ...]) -> Any:
        messages = tuple(self._messages)
        digest = digest_of([(said.agent_name, said.content, said.error) for said in messages])
        decision = Function(self._scope, f"t{len(messages)}:{what}", "route", function, digest=digest)
        try:
            return await decision.result_of(messages, allowed=allowed, timeout=self._rules.turn_timeout)
        except CONTROL:
            raise
        except Exception as error:
            raise _Over("error", f"{'turn' if what == 'next' else what}: {Failure.brief(error).text}") from error

    def _problem(self, speaker: str, handoff: Handoff | None) -> str:
        """Return what is wrong with a handoff, "" if nothing is."""
        if handoff is None or (handoff.to in self._agents and handoff.to != speaker):
            return ""
        others = ", ".join(name for name in self._agents if name != speaker)
        what = "You cannot hand over to yourself" if handoff.to == speaker else f"There is no agent {handoff.to!r:.200}"
        return f"{what}: you can hand over to {others}."

    def _handed_over(self, speaker: str, handoff: Handoff) -> str:
        made = Handoff(handoff.to, handoff.message, handoff.reason, speaker)
        self._handoffs.append(made)
        if self._fresh:
            self._scope.tell(RunEventType.HANDOFF, speaker, to=made.to, message=made.message, reason=made.reason)
        limits = self._rules.loop
        equal = Counter((each.from_agent, each.to, each.message) for each in self._handoffs)
        times = equal[made.from_agent, made.to, made.message]
        if times >= limits.max_repeats:
            raise self._loop(f"{speaker} handed over to {made.to} {times} times with the same text: {made.message}")
        if len(self._handoffs) > limits.max_handoffs:
            raise self._loop(f"{len(self._handoffs)} handoffs, more than {limits.max_handoffs}")
        return made.to

    # -- the end

    async def _look_for_the_end(self, said: AgentResult) -> None:
        """Raise _Over when the last message ends it."""
        if not said.success:
            self._look_at_failures(said)
            return
        stop = self._rules.stop
        if isinstance(stop, str) and stop in said.content:
            raise _Over(success=True)
        if callable(stop) and await self._decided("stop", stop, (bool,)):
            raise _Over(success=True)

    def _look_at_failures(self, said: AgentResult) -> None:
        """In a team of handoffs a failure is the end, else when as many in a row as there are agents have failed."""
        row = _in_a_row(self._messages)
        if self._rules.turn == "handoff" or row >= len(self._agents):
            raise _Over("timeout" if said.error == TIMEOUT else "error", f"{said.agent_name}: {said.error}")

    def _limit(self, *, handed_over: bool) -> _Over:
        """Return the end after the last turn: without ``stop`` a circle was to go on until then."""
        natural = self._rules.turn != "handoff" and self._rules.stop is None and not handed_over
        return _Over("limit", None if natural else f"not done after {self._rules.max_turns} turns", success=natural)

    def _loop(self, evidence: str) -> _Over:
        error = LoopDetectedError("handoff", evidence)
        self._scope.tell(RunEventType.LOOP_DETECTED, "", loop=error.kind, evidence=error.evidence)
        return _Over("loop", str(error))


def _in_a_row(messages: Sequence[TeamMessage]) -> int:
    """Return how many of the last messages failed."""
    count = 0
    for message in reversed(messages):
        if message.success:
            break
        count += 1
    return count
