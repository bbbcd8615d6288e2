"""How a debate finds out whether there is consensus: by ballot, by a judge, or by a function of the caller's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from shoal.orchestration.results import Consensus, DebateMessage, Dissent

__all__ = ["ConsensusRule", "consensus_of", "dissent_of", "objects_in", "read_verdict"]

ConsensusRule = Literal["ballot", "judge"] | Callable[..., Any]
"""``ballot``, ``judge``, or ``fn(topic, messages) -> Consensus | None``, async or not."""

_MOST_CANDIDATES = 1000


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    consensus: bool
    position: str = ""
    dissenters: tuple[str, ...] = ()


def objects_in(text: str, opening: str) -> Iterator[Any]:
    """Yield the JSON values in *text* that begin with *opening*, ``{`` or ``[``, each read from its first character."""
    decoder = json.JSONDecoder()
    place = -1
    for _ in range(_MOST_CANDIDATES):
        place = text.find(opening, place + 1)
        if place < 0:
            return
        try:
            yield decoder.raw_decode(text, place)[0]
        except (ValueError, RecursionError):
            continue


def read_verdict(text: str, names: Sequence[str]) -> Consensus | None:
    """Return the consensus that a judge's answer tells of; None when it tells of none, or cannot be read."""
    for found in objects_in(text, "{"):
        try:
            verdict = msgspec.convert(found, _Verdict, strict=True)
        except msgspec.ValidationError:
            continue
        supporters = tuple(name for name in names if name not in verdict.dissenters)
        if not verdict.consensus or not supporters:
            return None
        share = len(supporters) / len(names)
        return Consensus(position=verdict.position, supporters=supporters, share=share, method="judge")
    return None


def consensus_of(answer: object) -> Consensus | None:
    """Return what a function said. Raises TypeError for anything but a Consensus or None."""
    if answer is None or isinstance(answer, Consensus):
        return answer
    raise TypeError(f"the consensus function returned {type(answer).__name__}, expected Consensus or None")


def dissent_of(consensus: Consensus | None, last: Sequence[DebateMessage]) -> tuple[Dissent, ...]:
    """Return who stands outside the consensus, with what each said last; nobody when there is none."""
    if consensus is None:
        return ()
    return tuple(
        Dissent(
            agent_name=message.agent_name,
            position=message.position,
            reason=message.content,
            confidence=message.confidence,
            round=message.round,
        )
        for message in last
        if message.agent_name not in consensus.supporters
    )
