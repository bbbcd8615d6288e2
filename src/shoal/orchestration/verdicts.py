"""How a debate looks for consensus after a round: by ballot, by its moderator, or by a function of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.kernel.asking_people import digest_of
from shoal.kernel.failure import Failure
from shoal.kernel.scope import Scope
from shoal.orchestration.agents import name_of
from shoal.orchestration.answers import cancelled_from_outside
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
