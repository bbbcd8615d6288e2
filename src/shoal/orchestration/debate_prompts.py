"""What the speakers and the moderator of a debate are asked. What others said stands in fences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from shoal.kernel.fences import Quote
from shoal.orchestration.ballots import FORM
from shoal.orchestration.results import Consensus, DebateMessage, Dissent

__all__ = ["Subject", "conclusion_prompt", "judge_prompt", "opening_prompt", "reply_prompt"]

Parts = list[str | Quote]

_VERDICT_FORM = (
    "Do they agree on one position? Answer with JSON only: "
    '{"consensus": true or false, "position": "the position in one sentence", "dissenters": ["names"]}'
)


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What is debated, and the names under which the speakers appear to each other, by their own."""

    topic: str
    context: str
    shown: Mapping[str, str]

    @property
    def blind(self) -> bool:
        """Whether they appear under names that are not their own."""
        return any(name != shown for name, shown in self.shown.items())

    def head(self) -> Parts:
        """Return how every prompt begins."""
        head: Parts = [f"Topic: {self.topic}\n\n"]
        if self.context:
            head.append(f"Context: {self.context}\n\n")
        return head

    def who_is_who(self) -> Parts:
        """Return what the moderator is told of the names."""
        if not self.blind:
            return []
        names = ", ".join(f"{name} as {shown}" for name, shown in self.shown.items())
        return [f"They did not know who is who. They appeared to each other under other names: {names}.\n\n"]


def opening_prompt(subject: Subject) -> Parts:
    """Return what a speaker is asked in round 0: nobody else's words are in it."""
    return [*subject.head(), "Give your view of the topic, with your reasons.\n\n", FORM]


def reply_prompt(subject: Subject, name: str, own: DebateMessage | None, others: Sequence[DebateMessage]) -> Parts:
    """Return what *name* is asked in a later round: its own last position, and what the others said last."""
    parts = subject.head()
    if own is not None:
        parts += ["Your last position:\n\n", Quote(subject.shown[name], own.position or own.content), "\n\n"]
    parts += ["What the others said last:\n\n"]
    for message in others:
        parts += [Quote(subject.shown[message.agent_name], _speech(message)), "\n\n"]
    if subject.blind:
        parts += [f"The others know you as {subject.shown[name]}.\n"]
    names = ", ".join(subject.shown[message.agent_name] for message in others)
    parts += [
        "Answer them: what convinces you, what does not, and where you stand now. If they are right, say so.\n\n",
        f"{FORM}\nThe names are: {names}",
    ]
    return parts


def judge_prompt(subject: Subject, said: Sequence[DebateMessage]) -> Parts:
    """Return what the moderator is asked when it judges whether there is consensus."""
    return [
        *subject.head(),
        "What each participant said last:\n\n",
        *_quotes(said),
        *subject.who_is_who(),
        f"The participants are: {', '.join(subject.shown)}\n",
        _VERDICT_FORM,
    ]


def conclusion_prompt(
    subject: Subject,
    messages: Sequence[DebateMessage],
    last: Sequence[DebateMessage],
    consensus: Consensus | None,
    dissent: Sequence[Dissent],
) -> Parts:
    """Return what the moderator is asked at the end: all messages, the last ballots, and whether consensus holds."""
    parts = [*subject.head(), "The whole debate:\n\n"]
    for number in sorted({message.round for message in messages}):
        parts += [f"Round {number}\n\n", *_quotes([m for m in messages if m.round == number])]
    parts += ["The last ballots:\n\n"]
    for message in last:
        parts += [Quote(message.agent_name, _ballot(message)), "\n\n"]
    parts += subject.who_is_who()
    if consensus is None:
        parts += ["There is no consensus.\n\n"]
    else:
        supporters = ", ".join(consensus.supporters)
        parts += [f"There is consensus ({supporters}) on this:\n\n", Quote("consensus", consensus.position), "\n\n"]
    if dissent:
        parts += ["Dissenters: " + ", ".join(each.agent_name for each in dissent) + "\n\n"]
    parts += ["Write the conclusion of the debate: what was agreed, what stays open, who disagrees and why."]
    return parts


def _quotes(said: Sequence[DebateMessage]) -> Parts:
    parts: Parts = []
    for message in said:
        parts += [Quote(message.agent_name, _speech(message)), "\n\n"]
    return parts


def _speech(message: DebateMessage) -> str:
    """Return what was said, with the position that its ballot gave."""
    return "\n\n".join(filter(None, (message.content, message.position and f"POSITION: {message.position}")))


def _ballot(message: DebateMessage) -> str:
    if not (message.position or message.agrees_with or message.confidence is not None):
        return "gave none"
    sure = "not told" if message.confidence is None else f"{message.confidence}"
    agrees = ", ".join(message.agrees_with) or "none"
    return f"POSITION: {message.position or 'none'}\nAGREES WITH: {agrees}\nCONFIDENCE: {sure}"
