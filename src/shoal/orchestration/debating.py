"""One run of a debate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.fences import Composed
from shoal.kernel.run import RunEventType, StopReason
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import name_of
from shoal.orchestration.ballots import largest_support, read_ballot
from shoal.orchestration.calling import CONTROL, TIMEOUT, call_at
from shoal.orchestration.consensus import consensus_of, dissent_of, read_verdict
from shoal.orchestration.debate_prompts import conclusion_prompt, judge_prompt, opening_prompt, reply_prompt
from shoal.orchestration.functions import Function
from shoal.orchestration.results import AgentResult, Consensus, DebateMessage, DebateResult
from shoal.orchestration.together import together

if TYPE_CHECKING:
    from shoal.orchestration.debate import Debate

__all__ = ["Debating"]

LEAST_ANSWERS = 2
"""A round with fewer ends the debate: there is nobody to answer."""


class Debating:
    """A debate at *scope*: what was said, and what came of it."""

    def __init__(self, debate: Debate, scope: Scope, topic: str, context: str, user_id: str) -> None:
        self._debate = debate
        self._scope = scope
        self._topic = topic
        self._context = context
        self._user_id = user_id
        self._agents: tuple[Any, ...] = tuple(debate.agents)
        self._names = [name_of(agent) for agent in self._agents]
        self._shown = self._names_shown()
        self._said: dict[tuple[int, int], DebateMessage] = {}  # by round and place: who is quicker is not told first
        self._last: dict[str, DebateMessage] = {}
        self._rounds = 0
        self._consensus: Consensus | None = None
        self._conclusion = ""
        self._error: str | None = None
        self._stuck: StopReason | None = None
        self._over = False

    def _names_shown(self) -> dict[str, str]:
        """Return the names under which the speakers appear to each other."""
        if not self._debate.blind:
            return {name: name for name in self._names}
        seed = self._scope.run.record.seed
        mixed = sorted(self._names, key=lambda name: digest_of(seed, self._scope.path, name))
        return {name: f"Participant {number}" for number, name in enumerate(mixed, start=1)}

    def result(self) -> DebateResult:
        """Return the result of what was said so far."""
        return DebateResult(
            content=self._conclusion,
            conclusion=self._conclusion,
            success=self._over and self._error is None,
            error=self._error,
            stopped=self._stuck,
            consensus_reached=self._consensus is not None,
            consensus=self._consensus,
            dissent=dissent_of(self._consensus, [self._last[name] for name in self._names if name in self._last]),
            messages=tuple(self._messages),
            rounds_completed=self._rounds,
        )

    @property
    def _messages(self) -> list[DebateMessage]:
        return [self._said[place] for place in sorted(self._said)]

    async def work(self) -> None:
        """Speak, reply, and conclude."""
        for number in range(self._debate.rounds + 1):
            before = self._texts()
            answers = await self._round(number)
            if answers < LEAST_ANSWERS:
                self._error = f"round {number} had {answers} answers, a debate needs {LEAST_ANSWERS}"
                self._over = True
                return
            self._rounds = number
            if number and await self._ends_after(number, before):
                break
        await self._conclude()
        self._over = True

    def _texts(self) -> list[str]:
        return [self._last[name].content for name in self._names if name in self._last]

    async def _ends_after(self, number: int, before: list[str]) -> bool:
        """Look for consensus after a round of replies, and tell whether it was the last."""
        debate = self._debate
        if self._texts() == before:
            self._scope.run.warnings.append(f"{debate.name}: round {number} says the same as round {number - 1}")
            if debate.stop_when_stuck:
                self._stuck = "no_progress"
        last = number == debate.rounds or self._stuck is not None
        if debate.consensus == "ballot" or debate.require_consensus or last:
            self._consensus = await self._find_consensus(number)
        return last or (debate.require_consensus and self._consensus is not None)

    # -- one round

    async def _round(self, number: int) -> int:
        """Let all speak; return how many answered."""
        place = self._scope.child(f"r{number}")
        if self._debate.parallel_responses:
            prompts = [self._prompt(number, name) for name in self._names]
            timeout = self._debate.round_timeout
            said = await together(
                [self._ask(place, number, index, prompt, timeout) for index, prompt in enumerate(prompts)]
            )
        else:
            said = await self._one_after_another(place, number)
        self._scope.check()
        return sum(result.success for result in said)

    async def _one_after_another(self, place: Scope, number: int) -> list[AgentResult]:
        clock = self._scope.run.clock
        whole = self._debate.round_timeout
        ends = None if whole is None else clock.monotonic() + whole
        said: list[AgentResult] = []
        for index, name in enumerate(self._names):
            self._scope.check()
            left = len(self._names) - index
            share = None if ends is None else max(0.001, (ends - clock.monotonic()) / left)
            said.append(await self._ask(place, number, index, self._prompt(number, name), share))
        return said

    def _prompt(self, number: int, name: str) -> str:
        if number == 0:
            return self._told(opening_prompt(self._topic, self._context))
        others = [self._last[other] for other in self._in_shown_order() if other != name and other in self._last]
        return self._told(reply_prompt(self._topic, self._context, self._last.get(name), others, self._shown))

    def _in_shown_order(self) -> list[str]:
        return (
            sorted(self._names, key=lambda name: int(self._shown[name].split()[-1]))
            if self._debate.blind
            else self._names
        )

    def _told(self, prompt: Composed) -> str:
        if prompt.left_out:
            self._scope.tell(RunEventType.CONTEXT_CUT, characters=prompt.left_out)
        return prompt.text

    async def _ask(self, place: Scope, number: int, index: int, prompt: str, timeout: float | None) -> AgentResult:
        key = f"{index}:{self._names[index]}"
        said = await call_at(
            place, self._agents[index], prompt, key=key, timeout=timeout, user_id=self._user_id, index=index
        )
        self._keep(number, said)
        return said

    def _keep(self, number: int, said: AgentResult) -> None:
        names = {self._shown[name]: name for name in self._names if name != said.agent_name}
        answered = (
            tuple(name for name in self._names if name != said.agent_name and name in self._last) if number else ()
        )
        if said.success:
            ballot = read_ballot(said.content, names)
            content = ballot.content
        else:
            ballot = None
            content = "[Timeout]" if said.error == TIMEOUT else f"[Error: {said.error}]"
        message = DebateMessage(
            agent_name=said.agent_name,
            content=content,
            round=number,
            is_response_to=tuple(answered),
            position="" if ballot is None else ballot.position,
            agrees_with=() if ballot is None else ballot.agrees_with,
            confidence=None if ballot is None else ballot.confidence,
            success=said.success,
            error=said.error,
            duration_ms=said.duration_ms,
        )
        self._said[number, said.index] = message
        self._last[said.agent_name] = message
        self._scope.tell(RunEventType.MESSAGE, said.agent_name, round=number, content=content, success=said.success)

    # -- what comes of it

    async def _find_consensus(self, number: int) -> Consensus | None:
        rule = self._debate.consensus
        said = [message for message in self._messages if message.round == number]
        if rule == "ballot":
            found = largest_support(said, len(self._names))
            return found if found is not None and found.share >= self._debate.threshold else None
        if rule == "judge":
            prompt = self._told(judge_prompt(self._topic, self._context, said))
            verdict = await self._moderate(f"r{number}/judge", prompt)
            return read_verdict(verdict.content, self._names) if verdict.success else None
        return await self._by_function(number, rule)

    async def _by_function(self, number: int, rule: Any) -> Consensus | None:
        messages = tuple(self._messages)

        async def decide(topic: str, said: Sequence[Any]) -> Any:
            made = rule(topic, messages)
            made = await made if hasattr(made, "__await__") else made
            found = consensus_of(made)
            return None if found is None else msgspec.to_builtins(found)

        function = Function(self._scope, f"r{number}:consensus", "transform", decide)
        try:
            found = await function.result_of(
                self._topic,
                msgspec.to_builtins([(m.agent_name, m.content, m.position) for m in messages]),
                allowed=(dict, type(None)),
                timeout=self._debate.round_timeout,
            )
        except CONTROL:
            raise
        except Exception as error:  # noqa: BLE001  a function's error is data
            self._scope.run.warnings.append(f"{self._debate.name}: the consensus function failed: {error}")
            return None
        return None if found is None else msgspec.convert(found, Consensus)

    async def _moderate(self, key: str, prompt: str) -> AgentResult:
        round_name, _, last = key.rpartition("/")
        place = self._scope.child(round_name) if round_name else self._scope
        timeout = self._debate.round_timeout
        said = await call_at(place, self._debate.moderator, prompt, key=last, timeout=timeout, user_id=self._user_id)
        self._scope.check()
        return said

    async def _conclude(self) -> None:
        last = [self._last[name] for name in self._names]
        dissent = dissent_of(self._consensus, last)
        prompt = self._told(
            conclusion_prompt(self._topic, self._context, self._messages, last, self._consensus, dissent)
        )
        said = await self._moderate("conclusion", prompt)
        if said.success:
            self._conclusion = said.content
        else:
            self._error = f"the moderator did not conclude: {said.error}"
