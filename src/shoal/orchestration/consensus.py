"""How a debate finds out whether there is consensus: by ballot, by a judge, or by a function of the caller's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from shoal.orchestration.results import Consensus, DebateMessage, Dissent

__all__ = ["ConsensusRule", "consensus_of", "dissent_of", "objects_in", "read_verdict"]

ConsensusRule = Literal["ballot", "judge"] | Callable[..., Any]
"""``ballot``, ``judge``, or ``fn(topic, messages) -> Consensus | None``, async or not."""

_MOST_CANDIDATES = 1000


class _Verdict(msgspec.Struct, frozen=True, kw_only=True):
    consensus: bool
    position: str | None = None
    dissenters: tuple[str, ...] | None = None


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


def read_verdict(text: str, names: Mapping[str, str]) -> Consensus | None:
    """Return the consensus that a judge's answer tells of; None when it tells of none.

    Args:
        text: the answer.
        names: of the participants, with the names under which they were shown: the judge may use either.

    Raises ValueError: it cannot be read. That holds for verdicts that contradict each other, too: one may be quoted.
    """
    found = set(_verdicts(text))
    if len(found) != 1:
        raise ValueError("there is no JSON object with consensus in it" if not found else "it holds several verdicts")
    verdict = found.pop()
    if not verdict.consensus:
        return None
    by_fold = {word.casefold(): name for name, shown in names.items() for word in (shown, name)}
    against = {by_fold.get(name.strip().casefold(), "") for name in verdict.dissenters or ()}
    supporters = tuple(name for name in names if name not in against)
    if "" in against:
        raise ValueError("it names dissenters that are not in the debate")
    if not supporters or not (verdict.position or "").strip():
        raise ValueError(
            "it tells of a consensus without " + ("a position" if supporters else "anybody who supports it")
        )
    share = len(supporters) / len(names)
    return Consensus(position=verdict.position or "", supporters=supporters, share=share, method="judge")


def _verdicts(text: str) -> Iterator[_Verdict]:
    for found in objects_in(text, "{"):
        try:
            yield msgspec.convert(found, _Verdict, strict=True)
        except msgspec.ValidationError:
            continue


def consensus_of(answer: object, names: Sequence[str]) -> Consensus | None:
    """Return what a function said. Raises TypeError, ValueError: it is no Consensus of agents that are there, nor None."""
    if answer is None:
        return None
    if not isinstance(answer, Consensus):
        raise TypeError(f"the consensus function returned {type(answer).__name__}, expected Consensus or None")
    for name in answer.supporters:
        if name not in names:
            raise ValueError(f"the consensus function named {name!r:.80}: the agents are {', '.join(names)}")
    share = answer.share or len(set(answer.supporters)) / len(names)
    return msgspec.structs.replace(answer, share=share, method="function")


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
