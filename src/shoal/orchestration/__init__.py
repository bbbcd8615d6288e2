"""Patterns: agents in parallel, in line, planned, in debate, in teams; over anything that can ``chat``.

The names are loaded when they are first used (PEP 562), each from the module that has it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.kernel.budget import Budget, LoopLimits
    from shoal.kernel.run import Approval, Handoff, RunEvent, RunOptions, RunRecord, RunStatus, RunStep
    from shoal.kernel.runhandle import RunHandle
    from shoal.kernel.usage import Usage
    from shoal.orchestration.agents import as_agent
    from shoal.orchestration.calling import call
    from shoal.orchestration.conditional import ConditionalPipeline
    from shoal.orchestration.debate import Debate
    from shoal.orchestration.parallel import ParallelAgents, parallel_chat
    from shoal.orchestration.pipeline import Pipeline
    from shoal.orchestration.results import (
        AgentResult,
        Consensus,
        DebateMessage,
        DebateResult,
        Dissent,
        ParallelResult,
        PipelineResult,
        PipelineStep,
        SupervisorResult,
        TeamMessage,
        TeamResult,
        WorkerResult,
        WorkerTask,
    )
    from shoal.orchestration.supervisor import Supervisor, SupervisorConfig, WorkerSelectionMode
    from shoal.orchestration.team import Team

__all__ = [
    "AgentResult",
    "Approval",
    "Budget",
    "ConditionalPipeline",
    "Consensus",
    "Debate",
    "DebateMessage",
    "DebateResult",
    "Dissent",
    "Handoff",
    "LoopLimits",
    "ParallelAgents",
    "ParallelResult",
    "Pipeline",
    "PipelineResult",
    "PipelineStep",
    "RunEvent",
    "RunHandle",
    "RunOptions",
    "RunRecord",
    "RunStatus",
    "RunStep",
    "Supervisor",
    "SupervisorConfig",
    "SupervisorResult",
    "Team",
    "TeamMessage",
    "TeamResult",
    "Usage",
    "WorkerResult",
    "WorkerSelectionMode",
    "WorkerTask",
    "as_agent",
    "call",
    "parallel_chat",
]

_MODULES = {
    "shoal.kernel.budget": ("Budget", "LoopLimits"),
    "shoal.kernel.run": ("Approval", "Handoff", "RunEvent", "RunOptions", "RunRecord", "RunStatus", "RunStep"),
    "shoal.kernel.runhandle": ("RunHandle",),
    "shoal.kernel.usage": ("Usage",),
    "shoal.orchestration.agents": ("as_agent",),
    "shoal.orchestration.calling": ("call",),
    "shoal.orchestration.conditional": ("ConditionalPipeline",),
    "shoal.orchestration.debate": ("Debate",),
    "shoal.orchestration.parallel": ("ParallelAgents", "parallel_chat"),
    "shoal.orchestration.pipeline": ("Pipeline",),
    "shoal.orchestration.results": (
        "AgentResult",
        "Consensus",
        "DebateMessage",
        "DebateResult",
        "Dissent",
        "ParallelResult",
        "PipelineResult",
        "PipelineStep",
        "SupervisorResult",
        "TeamMessage",
        "TeamResult",
        "WorkerResult",
        "WorkerTask",
    ),
    "shoal.orchestration.supervisor": ("Supervisor", "SupervisorConfig", "WorkerSelectionMode"),
    "shoal.orchestration.team": ("Team",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'shoal.orchestration' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
