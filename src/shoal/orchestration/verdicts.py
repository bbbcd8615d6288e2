"""How a debate looks for consensus after a round: by ballot, by its moderator, or by a function of the caller's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import name_of
from shoal.orchestration.ballots import largest_support
from shoal.orchestration.calling import CONTROL, call_at
from shoal.orchestration.consensus import consensus_of, read_verdict
from shoal.orchestration.debate_prompts import Subject, judge_prompt
from shoal.orchestration.functions import Function
from shoal.orchestration.planning import written
from shoal.orchestration.results import Consensus, DebateMessage

if TYPE_CHECKING:
    from shoal.orchestration.debate import Debate

__all__ = ["Verdicts"]


class Verdicts:
    """The search for consensus in one run of *debate*, at *scope*."""

    def __init__(self, debate: Debate, scope: Scope, subject: Subject, user_id: str) -> None:
        self._debate = debate
        self._scope = scope
        self._subject = subject
        self._user_id = user_id
        self._names = list(subject.shown)

    async def after(self, number: int, messages: Sequence[DebateMessage]) -> Consensus | None:
        """Return the consensus after round *number*, if there is one. What fails to tell is a warning, and none."""
        rule = self._debate.consensus
        if rule == "ballot":
            found = largest_support([message for message in messages if message.round == number], len(self._names))
            return found if found is not None and found.share >= self._debate.threshold else None
        try:
            if rule == "judge":
                return await self._judged(number, [message for message in messages if message.round == number])
            assert callable(rule), "checked when the debate was made"
            return await self._decided(number, tuple(messages), rule)
        except CONTROL:
            raise
        except Exception as error:  # noqa: BLE001  what a judge or a function does wrong is data
            who = "judge's answer" if rule == "judge" else "consensus function"
            text = Failure.brief(error).message or type(error).__name__
            self._scope.run.warnings.append(f"{self._debate.name}: the {who} after round {number} is of no use: {text}")
            return None

    async def _judged(self, number: int, said: Sequence[DebateMessage]) -> Consensus | None:
        place = self._scope.child(f"r{number}")
        moderator = self._debate.moderator
        answer = await call_at(
            place,
            moderator,
            written(self._scope, name_of(moderator), judge_prompt(self._subject, said)),
            key="judge",
            timeout=self._debate.round_timeout,
            user_id=self._user_id,
        )
        self._scope.check()
        if not answer.success:
            raise RuntimeError(answer.error)
        return read_verdict(answer.content, self._subject.shown)

    async def _decided(
        self, number: int, messages: tuple[DebateMessage, ...], rule: Callable[..., Any]
    ) -> Consensus | None:
        async def decide(topic: str, said: tuple[DebateMessage, ...]) -> Any:
            made = rule(topic, said)
            found = consensus_of(await made if inspect.isawaitable(made) else made, self._names)
            return None if found is None else msgspec.to_builtins(found)

        topic = self._subject.topic
        given = digest_of(topic, [(said.agent_name, said.content, said.position, said.error) for said in messages])
        function = Function(self._scope, f"r{number}:consensus", "transform", decide, digest=given)
        allowed = (dict, type(None))
        found = await function.result_of(topic, messages, allowed=allowed, timeout=self._debate.round_timeout)
        return None if found is None else msgspec.convert(found, Consensus)
