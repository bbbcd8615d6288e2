"""What the speakers and the moderator of a debate are asked. What others said stands in fences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shoal.kernel.fences import Composed, Quote, compose
from shoal.orchestration.ballots import FORM
from shoal.orchestration.results import Consensus, DebateMessage, Dissent

__all__ = ["conclusion_prompt", "judge_prompt", "opening_prompt", "reply_prompt"]

Parts = list[str | Quote]

_VERDICT_FORM = (
    "Do they agree on one position? Answer with JSON only: "
    '{"consensus": true or false, "position": "the position in one sentence", "dissenters": ["names"]}'
)


def opening_prompt(topic: str, context: str) -> Composed:
    """Return what a speaker is asked in round 0: nobody else's words are in it."""
    return compose([*_head(topic, context), "Give your view of the topic, with your reasons.\n\n", FORM])


def reply_prompt(
    topic: str,
    context: str,
    own: DebateMessage | None,
    others: Sequence[DebateMessage],
    shown: Mapping[str, str],
) -> Composed:
    """Return what a speaker is asked in a later round: its own last position, and what the others said last.

    *shown* has the names under which the others appear.
    """
    parts = _head(topic, context)
    if own is not None and own.success:
        parts += [f"Your last position: {own.position or own.content}\n\n"]
    parts += ["What the others said last:\n\n"]
    for message in others:
        parts += [Quote(shown[message.agent_name], message.content), "\n\n"]
    names = ", ".join(shown[message.agent_name] for message in others)
    parts += [
        "Answer them: what convinces you, what does not, and where you stand now. If they are right, say so.\n\n",
        f"{FORM}\nThe names are: {names}",
    ]
    return compose(parts)


def judge_prompt(topic: str, context: str, said: Sequence[DebateMessage]) -> Composed:
    """Return what the moderator is asked when it judges whether there is consensus."""
    return compose(
        [
            *_head(topic, context),
            "What each participant said last:\n\n",
            *_quotes(said),
            _VERDICT_FORM,
        ]
    )


def conclusion_prompt(
    topic: str,
    context: str,
    messages: Sequence[DebateMessage],
    last: Sequence[DebateMessage],
    consensus: Consensus | None,
    dissent: Sequence[Dissent],
) -> Composed:
    """Return what the moderator is asked at the end: all messages, the last ballots, and whether consensus holds."""
    parts = [*_head(topic, context), "The whole debate:\n\n"]
    for number in sorted({message.round for message in messages}):
        parts += [f"Round {number}\n\n", *_quotes([m for m in messages if m.round == number])]
    ballots = "\n".join(_ballot(message) for message in last if message.success)
    parts += [f"The last ballots:\n{ballots}\n\n"]
    if consensus is None:
        parts += ["There is no consensus.\n\n"]
    else:
        names = ", ".join(consensus.supporters)
        parts += [f"There is consensus ({names}): {consensus.position}\n\n"]
        if dissent:
            parts += ["Dissenters: " + ", ".join(each.agent_name for each in dissent) + "\n\n"]
    parts += ["Write the conclusion of the debate: what was agreed, what stays open, who disagrees and why."]
    return compose(parts)


def _head(topic: str, context: str) -> Parts:
    head: Parts = [f"Topic: {topic}\n\n"]
    if context:
        head.append(f"Context: {context}\n\n")
    return head


def _quotes(said: Sequence[DebateMessage]) -> Parts:
    parts: Parts = []
    for message in said:
        parts += [Quote(message.agent_name, message.content), "\n\n"]
    return parts


def _ballot(message: DebateMessage) -> str:
    sure = "" if message.confidence is None else f" (confidence {message.confidence})"
    agrees = ", ".join(message.agrees_with) or "none"
    return f"{message.agent_name}: {message.position or 'no position'}{sure}; agrees with {agrees}"
