"""Speakers of debates: what each says in which round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shoal.kernel.scope import current_scope
from shoal.orchestration import Debate, DebateResult
from tests.support.speakers import Calls, Speaker, virtual

__all__ = ["Panel", "ballot", "round_now"]


def ballot(text: str = "My view.", position: str = "so", agrees: str = "none", confidence: int = 50) -> str:
    """Return a speech with a ballot."""
    return f"{text}\n\nPOSITION: {position}\nAGREES WITH: {agrees}\nCONFIDENCE: {confidence}"


def round_now() -> int:
    """Return the round in which the code that asks is called."""
    scope = current_scope.get()
    assert scope is not None
    return next(int(part[1:]) for part in scope.path.split("/") if part[:1] == "r" and part[1:].isdigit())


class Panel:
    """A debate of speakers, with their calls.

    Args:
        said: by name what each says: a value, a function of the message, or a list of these by round.
        moderator: what the moderator says.
        seconds: by name how long each takes.
    """

    def __init__(
        self,
        said: Mapping[str, Any] | None = None,
        *,
        moderator: Any = "the conclusion",
        seconds: Mapping[str, float] | None = None,
        calls: Calls | None = None,
        cost: float | None = 1.0,
        **options: Any,
    ) -> None:
        self.calls = Calls() if calls is None else calls
        takes = seconds or {}

        def speaker(name: str, answer: Any) -> Speaker:
            return Speaker(name, answer, self.calls, seconds=takes.get(name, 0.0), cost=cost)

        answers = {"A": None, "B": None, "C": None} if said is None else said
        self.agents = [speaker(name, _by_round(name, answer)) for name, answer in answers.items()]
        self.pattern = Debate(self.agents, speaker("Moderator", moderator), **options)

    def run(self, topic: str = "the topic", **options: Any) -> DebateResult:
        """Run it in virtual time."""
        return virtual(lambda clock: self.pattern.run(topic, **options))

    def said_to(self, place: str) -> str:
        """Return what was said at *place*, where one call was made."""
        (message,) = self.calls.messages(place)
        return message

    @property
    def prompts(self) -> dict[str, str]:
        """All that was asked, by place."""
        return {place: message for _, place, message in self.calls.made}


def _by_round(name: str, answer: Any) -> Any:
    if answer is None:
        return lambda message: ballot(f"{name} speaks in round {round_now()}.", f"{name}{round_now()}")
    if not isinstance(answer, Sequence) or isinstance(answer, str):
        return answer

    def say(message: str) -> Any:
        now = answer[min(round_now(), len(answer) - 1)]
        return now(message) if callable(now) else now

    return say
