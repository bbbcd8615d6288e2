"""What patterns return: frozen records, texts in full. Floats appear only where a cost is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from shoal.errors import nearest
from shoal.kernel.run import Handoff, StopReason
from shoal.kernel.usage import Usage
from shoal.orchestration.formats import FORMATS

__all__ = [
    "AgentResult",
    "Consensus",
    "DebateMessage",
    "DebateResult",
    "Dissent",
    "ParallelResult",
    "PipelineResult",
    "PipelineStep",
    "Result",
    "SupervisorResult",
    "TeamMessage",
    "TeamResult",
    "WorkerResult",
    "WorkerTask",
]


class AgentResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one call of an agent.

    Attributes:
        agent_name, index: whose, and its place among those who were asked together.
        content: its answer; when it failed, what a pattern had finished.
        success, error, error_type: whether it answered, and if not, why; ``Timeout`` and ``Cancelled`` are such errors.
        duration_ms, usage: milliseconds, and what this call used.
        output: what it returned beside its content, as a JSON value; of a pattern its whole result.
        handoff: to whom it hands over, if it does.
    """

    agent_name: str
    content: str = ""
    success: bool = True
    error: str | None = None
    error_type: str | None = None
    index: int = 0
    duration_ms: float = 0.0
    usage: Usage = Usage()
    output: Any = None
    handoff: Handoff | None = None

    @property
    def cost(self) -> float:
        """The cost of this call in USD."""
        return self.usage.cost

    def __str__(self) -> str:
        return f"[{self.agent_name}]: {self.content}" if self.success else f"[{self.agent_name}] ERROR: {self.error}"


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every pattern returns.

    Attributes:
        content: the answer; what is finished of it when the pattern was ``stopped``.
        success, error: whether the pattern did what it is for, and if not, why.
        stopped: why it ended before its natural end, None: it did not.
        usage: of all that was done in it, replayed or not; ``total_cost`` is its cost in USD.
        total_duration_ms, run_id, warnings: milliseconds, of this life; the run; what a reader should know.
    """

    content: str = ""
    success: bool = True
    error: str | None = None
    stopped: StopReason | None = None
    usage: Usage = Usage()
    total_duration_ms: float = 0.0
    run_id: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def total_cost(self) -> float:
        """The cost in USD: the float nearest to the exact sum."""
        return self.usage.cost

    def __str__(self) -> str:
        return self.content


class ParallelResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    """Answers in the order of the agents. ``content`` is ``to_context()``."""

    results: tuple[AgentResult, ...] = ()

    @property
    def successful(self) -> list[AgentResult]:
        """Those who answered."""
        return [result for result in self.results if result.success]

    @property
    def failed(self) -> list[AgentResult]:
        """Those who did not."""
        return [result for result in self.results if not result.success]

    @property
    def all_success(self) -> bool:
        """Whether there are answers, and all agents gave one."""
        return bool(self.results) and not self.failed

    @property
    def contents(self) -> list[str]:
        """The answers alone."""
        return [result.content for result in self.successful]

    def by_agent(self, name: str) -> AgentResult:
        """Return what *name* answered. Raises KeyError with the known names."""
        for result in self.results:
            if result.agent_name == name:
                return result
        names = [result.agent_name for result in self.results]
        raise KeyError(f"no agent {name!r} among {', '.join(names)}{nearest(name, names)}")

    def to_context(self, format: str = "numbered") -> str:
        """Return the answers as one text for another agent: numbered, labeled, xml or plain, else ValueError."""
        write = FORMATS.get(format)
        if write is None:
            raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r:.80}")
        return write([(result.agent_name, result.content) for result in self.successful])


class PipelineStep(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a pipeline. ``failed_in``: ``agent`` or ``transformer``, None when it did not fail."""

    agent_name: str
    input: str = ""
    output: str = ""
    success: bool = True
    error: str | None = None
    failed_in: Literal["agent", "transformer"] | None = None
    duration_ms: float = 0.0
    usage: Usage = Usage()


class PipelineResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    """Steps in order. ``route``: which branch a conditional pipeline took."""

    steps: tuple[PipelineStep, ...] = ()
    route: str | None = None

    @property
    def failed_step(self) -> PipelineStep | None:
        """The first step that failed."""
        return next((step for step in self.steps if not step.success), None)

    @property
    def last_output(self) -> str:
        """The output of the last step that succeeded."""
        return next((step.output for step in reversed(self.steps) if step.success), "")


class WorkerTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a planner asks of a worker. Lower ``priority`` comes first."""

    worker_name: str
    task: str
    context: str = ""
    priority: int = 1
    iteration: int = 1


class WorkerResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of it."""

    worker_name: str
    task: str
    output: str = ""
    success: bool = True
    error: str | None = None
    duration_ms: float = 0.0
    usage: Usage = Usage()
    iteration: int = 1


class SupervisorResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The plan, what the workers made of it, and why the planner planned so."""

    plan: tuple[WorkerTask, ...] = ()
    worker_results: tuple[WorkerResult, ...] = ()
    iterations: int = 0
    reasoning: str = ""

    def _last(self) -> dict[str, WorkerResult]:
        return {result.worker_name: result for result in self.worker_results}

    @property
    def successful_workers(self) -> list[str]:
        """The workers whose last result succeeded."""
        return [name for name, result in self._last().items() if result.success]

    @property
    def failed_workers(self) -> list[str]:
        """The workers whose last result failed."""
        return [name for name, result in self._last().items() if not result.success]


class DebateMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One speech. ``position``, ``agrees_with`` and ``confidence`` (0 to 100) are its ballot."""

    agent_name: str
    content: str = ""
    round: int = 0
    is_response_to: tuple[str, ...] = ()
    position: str = ""
    agrees_with: tuple[str, ...] = ()
    confidence: int | None = None
    success: bool = True
    error: str | None = None
    duration_ms: float = 0.0


class Consensus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is agreed on, by whom, and their share of all, 0 to 1. ``method``: ballot, judge or function."""

    position: str
    supporters: tuple[str, ...] = ()
    share: float = 0.0
    method: str = "ballot"


class Dissent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who stands outside the consensus, and for what."""

    agent_name: str
    position: str = ""
    reason: str = ""
    confidence: int | None = None
    round: int = 0


class DebateResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    """What was said and concluded. ``content`` is the conclusion."""

    conclusion: str = ""
    consensus_reached: bool = False
    consensus: Consensus | None = None
    dissent: tuple[Dissent, ...] = ()
    messages: tuple[DebateMessage, ...] = ()
    rounds_completed: int = 0

    @property
    def by_agent(self) -> Mapping[str, list[DebateMessage]]:
        """The speeches by speaker."""
        found: dict[str, list[DebateMessage]] = {}
        for message in self.messages:
            found.setdefault(message.agent_name, []).append(message)
        return found

    @property
    def by_round(self) -> Mapping[int, list[DebateMessage]]:
        """The speeches by round."""
        found: dict[int, list[DebateMessage]] = {}
        for message in self.messages:
            found.setdefault(message.round, []).append(message)
        return found

    def to_transcript(self) -> str:
        """Return the debate as Markdown: a heading for each round, and the conclusion."""
        parts: list[str] = []
        for number, said in self.by_round.items():
            parts.append(f"## Round {number}")
            parts += [f"**{message.agent_name}**: {message.content}" for message in said]
        if self.conclusion:
            parts += ["## Conclusion", self.conclusion]
        return "\n\n".join(parts)


class TeamMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a team."""

    agent_name: str
    content: str = ""
    turn: int = 0
    success: bool = True
    error: str | None = None
    duration_ms: float = 0.0
    usage: Usage = Usage()


class TeamResult(Result, frozen=True, kw_only=True, omit_defaults=True):
    """Who said what, and who handed over to whom. ``final_agent`` spoke last."""

    messages: tuple[TeamMessage, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    final_agent: str = ""
    turns: int = 0
