"""One run of a debate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.run import RunEventType, StopReason
from shoal.kernel.scope import Scope, segment_of
from shoal.orchestration.agents import name_of
from shoal.orchestration.ballots import read_ballot
from shoal.orchestration.calling import TIMEOUT, call_at, unfinished
from shoal.orchestration.consensus import dissent_of
from shoal.orchestration.debate_prompts import Subject, conclusion_prompt, opening_prompt, reply_prompt
from shoal.orchestration.planning import written
from shoal.orchestration.results import AgentResult, Consensus, DebateMessage, DebateResult
from shoal.orchestration.together import together
from shoal.orchestration.verdicts import Verdicts

if TYPE_CHECKING:
    from shoal.orchestration.debate import Debate

__all__ = ["Debating"]

LEAST_ANSWERS = 2
"""A round with fewer ends the debate: there is nobody to answer."""


class _Over(Exception):
    """The debate ends without a conclusion."""

    def __init__(self, error: str, failed: list[str | None]) -> None:
        self.stopped: StopReason = "timeout" if all(each == TIMEOUT for each in failed) else "error"
        super().__init__(error)


class Debating:
    """A debate at *scope*: what was said, and what came of it."""

    def __init__(self, debate: Debate, scope: Scope, topic: str, context: str, user_id: str) -> None:
        self._debate = debate
        self._scope = scope
        self._user_id = user_id
        self._agents: tuple[Any, ...] = tuple(debate.agents)
        self._names = [name_of(agent) for agent in self._agents]
        self._order = self._mixed() if debate.blind else self._names  # in which the others are shown
        shown = {name: f"Participant {self._order.index(name) + 1}" if debate.blind else name for name in self._names}
        self._subject = Subject(topic=topic, context=context, shown=shown)
        self._verdicts = Verdicts(debate, scope, self._subject, user_id)
        self._said: dict[tuple[int, int], DebateMessage] = {}  # by round and place: who is quicker is not told first
        self._last: dict[str, DebateMessage] = {}
        self._stands: dict[str, DebateMessage] = {}  # the last that was no failure
        below = scope.key("")
        self._replayed = frozenset(key for key in scope.run.recorded if key.startswith(below))
        self._round_place: Scope | None = None
        self._rounds = 0
        self._consensus: Consensus | None = None
        self._conclusion = ""
        self._error: str | None = None
        self._stopped: StopReason | None = None
        self._over = False

    def _mixed(self) -> list[str]:
        """Return the names in an order that follows from the run's seed."""
        seed = self._scope.run.record.seed
        return sorted(self._names, key=lambda name: digest_of(seed, self._scope.path, name))

    def result(self) -> DebateResult:
        """Return the result of what was said so far; before the end, with what a pattern that is speaking has finished."""
        messages = list(self._messages)
        if not self._over and self._round_place is not None:
            messages += [self._message(self._number_now, said) for said in unfinished(self._round_place)]
        return DebateResult(
            content=self._conclusion,
            conclusion=self._conclusion,
            success=self._over and self._error is None,
            error=self._error,
            stopped=self._stopped,
            consensus_reached=self._consensus is not None,
            consensus=self._consensus,
            dissent=dissent_of(self._consensus, self._last_stands()),
            messages=tuple(messages),
            rounds_completed=self._rounds,
        )

    @property
    def _messages(self) -> list[DebateMessage]:
        return [self._said[place] for place in sorted(self._said)]

    @property
    def _number_now(self) -> int:
        """The round that is under way."""
        return int(self._round_place.path.rpartition("/")[2][1:]) if self._round_place is not None else 0

    def _last_stands(self) -> list[DebateMessage]:
        """Return where each stood last; how it failed, of one who never said anything."""
        return [self._stands.get(name) or self._last[name] for name in self._names if name in self._last]

    async def work(self) -> None:
        """Speak, reply, and conclude."""
        try:
            for number in range(self._debate.rounds + 1):
                before = self._told_last()
                await self._round(number)
                self._rounds = number
                if number and await self._ends_after(number, before):
                    break
            await self._conclude()
        except _Over as over:
            self._error, self._stopped = str(over), over.stopped
        self._over = True

    def _told_last(self) -> list[Any]:
        last = [self._last[name] for name in self._names if name in self._last]
        return [(said.content, said.position, said.agrees_with, said.confidence) for said in last]

    async def _ends_after(self, number: int, before: list[Any]) -> bool:
        """Look for consensus after a round of replies, and tell whether it was the last."""
        debate = self._debate
        if self._told_last() == before:
            self._scope.run.warnings.append(f"{debate.name}: round {number} says the same as round {number - 1}")
            if debate.stop_when_stuck:
                self._stopped = "no_progress"
        last = number == debate.rounds or self._stopped is not None
        if debate.consensus == "ballot" or debate.require_consensus or last:
            self._consensus = await self._verdicts.after(number, self._messages)
        return last or (debate.require_consensus and self._consensus is not None)

    # -- one round

    async def _round(self, number: int) -> None:
        """Let all speak. Raises _Over when too few answer."""
        self._scope.check()
        self._round_place = place = self._scope.child(f"r{number}")
        if self._debate.parallel_responses:
            prompts = [self._prompt(number, name) for name in self._names]
            timeout = self._debate.round_timeout
            said = await together(
                [self._ask(place, number, index, prompt, timeout) for index, prompt in enumerate(prompts)]
            )
        else:
            said = await self._one_after_another(place, number)
        self._round_place = None
        self._scope.check()  # an agent may have come to the end of the budget
        failed = [result for result in said if not result.success]
        answers = len(said) - len(failed)
        if answers < LEAST_ANSWERS:
            because = "; ".join(f"{result.agent_name}: {result.error}" for result in failed)
            count = f"{answers} answer{'s' * (answers != 1)}"
            error = f"round {number} had {count}, a debate needs {LEAST_ANSWERS} ({because})"
            raise _Over(error, [result.error for result in failed])

    async def _one_after_another(self, place: Scope, number: int) -> list[AgentResult]:
        """Let each speak in turn: what is left of the round is divided by those who are left."""
        run, whole = self._scope.run, self._debate.round_timeout

        def now() -> float:
            return run.clock.monotonic() - run.asking.idle(place.path)  # waiting for people takes none of their time

        ends = None if whole is None else now() + whole
        said: list[AgentResult] = []
        for index, name in enumerate(self._names):
            self._scope.check()
            left = len(self._names) - index
            share = None if ends is None else max(0.001, (ends - now()) / left)
            said.append(await self._ask(place, number, index, self._prompt(number, name), share))
        return said

    def _prompt(self, number: int, name: str) -> str:
        if number == 0:
            return written(self._scope, name, opening_prompt(self._subject))
        others = [self._last[other] for other in self._order if other != name and other in self._last]
        return written(self._scope, name, reply_prompt(self._subject, name, self._stands.get(name), others))

    async def _ask(self, place: Scope, number: int, index: int, prompt: str, timeout: float | None) -> AgentResult:
        key = f"{index}:{self._names[index]}"
        said = await call_at(
            place, self._agents[index], prompt, key=key, timeout=timeout, user_id=self._user_id, index=index
        )
        message = self._message(number, said)
        self._said[number, index] = self._last[said.agent_name] = message
        if said.success:
            self._stands[said.agent_name] = message
        if self._is_new(place.key(segment_of(key))) or not await self._was_told(message):
            told = {"round": number, "content": message.content, "success": said.success, "error": said.error}
            self._scope.tell(RunEventType.MESSAGE, said.agent_name, **told)
        return said

    def _is_new(self, path: str) -> bool:
        """Tell whether something was done at *path* in this life of the run."""
        if not self._replayed:
            return True
        return any(key not in self._replayed and key.startswith(f"{path}/") for key in self._scope.run.recorded)

    async def _was_told(self, message: DebateMessage) -> bool:
        """Tell whether an earlier life of the run has told a message that it has heard."""
        scope = self._scope
        later = (scope.key(f"r{message.round + 1}/"), scope.key("conclusion/"))
        if any(key.startswith(later) for key in self._replayed):
            return True  # what comes after a message is not recorded without it
        told = (scope.path, RunEventType.MESSAGE, message.agent_name, message.round)
        past = await scope.run.feeds.past(scope.run.run_id)
        return told in [(event.path, event.type, event.agent_name, event.data.get("round")) for event in past]

    def _message(self, number: int, said: AgentResult) -> DebateMessage:
        others = [name for name in self._names if name != said.agent_name]
        message = DebateMessage(
            agent_name=said.agent_name,
            round=number,
            is_response_to=tuple(name for name in others if name in self._last) if number else (),
            success=said.success,
            error=said.error,
            duration_ms=said.duration_ms,
        )
        if not said.success:
            problem = "[Timeout]" if said.error == TIMEOUT else f"[Error: {said.error}]"
            content = f"{problem}\n\n{said.content}" if said.content else problem  # of a pattern: what it has finished
            return msgspec.structs.replace(message, content=content)
        ballot = read_ballot(said.content, {self._subject.shown[name]: name for name in others})
        return msgspec.structs.replace(message, **msgspec.structs.asdict(ballot))

    # -- what comes of it

    async def _conclude(self) -> None:
        last = self._last_stands()
        dissent = dissent_of(self._consensus, last)
        moderator = self._debate.moderator
        parts = conclusion_prompt(self._subject, self._messages, last, self._consensus, dissent)
        said = await call_at(
            self._scope,
            moderator,
            written(self._scope, name_of(moderator), parts),
            key="conclusion",
            timeout=self._debate.round_timeout,
            user_id=self._user_id,
        )
        self._scope.check()
        if not said.success:
            raise _Over(f"the moderator did not conclude: {said.error}", [said.error])
        self._conclusion = said.content
