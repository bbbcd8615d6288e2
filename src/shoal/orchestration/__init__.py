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
    from shoal.orchestration.workflow.brief import Brief, WorkStep
    from shoal.orchestration.workflow.checking import check_output
    from shoal.orchestration.workflow.config import OrchestratorConfig
    from shoal.orchestration.workflow.conflict import Conflict, ConflictRecord, Position, Rule, Ruling
    from shoal.orchestration.workflow.conflicttext import conflict_text
    from shoal.orchestration.workflow.delivery import CodeRun, CodeRunner, Delivery, Dispute, Objection, TestResult
    from shoal.orchestration.workflow.expected import ExpectedOutput
    from shoal.orchestration.workflow.message import WorkMessage, WorkOrder
    from shoal.orchestration.workflow.orchestrator import Orchestrator
    from shoal.orchestration.workflow.plan import Plan
    from shoal.orchestration.workflow.recovery import Recovery, RecoveryAction
    from shoal.orchestration.workflow.recoverytext import recovery_text
    from shoal.orchestration.workflow.report import CallRecord, Escalation, ReviewRecord, StepRecord, WorkflowReport
    from shoal.orchestration.workflow.review import Facts, Issue, Review
    from shoal.orchestration.workflow.rules import requirements_first, security_first
    from shoal.orchestration.workflow.trace import TraceEntry
    from shoal.orchestration.workflow.tracetext import trace_text

__all__ = [
    "AgentResult",
    "Approval",
    "Brief",
    "Budget",
    "CallRecord",
    "CodeRun",
    "CodeRunner",
    "ConditionalPipeline",
    "Conflict",
    "ConflictRecord",
    "Consensus",
    "Debate",
    "DebateMessage",
    "DebateResult",
    "Delivery",
    "Dispute",
    "Dissent",
    "Escalation",
    "ExpectedOutput",
    "Facts",
    "Handoff",
    "Issue",
    "LoopLimits",
    "Objection",
    "Orchestrator",
    "OrchestratorConfig",
    "ParallelAgents",
    "ParallelResult",
    "Pipeline",
    "PipelineResult",
    "PipelineStep",
    "Plan",
    "Position",
    "Recovery",
    "RecoveryAction",
    "Review",
    "ReviewRecord",
    "Rule",
    "Ruling",
    "RunEvent",
    "RunHandle",
    "RunOptions",
    "RunRecord",
    "RunStatus",
    "RunStep",
    "StepRecord",
    "Supervisor",
    "SupervisorConfig",
    "SupervisorResult",
    "Team",
    "TeamMessage",
    "TeamResult",
    "TestResult",
    "TraceEntry",
    "Usage",
    "WorkMessage",
    "WorkOrder",
    "WorkStep",
    "WorkerResult",
    "WorkerSelectionMode",
    "WorkerTask",
    "WorkflowReport",
    "as_agent",
    "call",
    "check_output",
    "conflict_text",
    "parallel_chat",
    "recovery_text",
    "requirements_first",
    "security_first",
    "trace_text",
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
    "shoal.orchestration.workflow.brief": ("Brief", "WorkStep"),
    "shoal.orchestration.workflow.checking": ("check_output",),
    "shoal.orchestration.workflow.config": ("OrchestratorConfig",),
    "shoal.orchestration.workflow.conflict": ("Conflict", "ConflictRecord", "Position", "Rule", "Ruling"),
    "shoal.orchestration.workflow.conflicttext": ("conflict_text",),
    "shoal.orchestration.workflow.delivery": (
        "CodeRun",
        "CodeRunner",
        "Delivery",
        "Dispute",
        "Objection",
        "TestResult",
    ),
    "shoal.orchestration.workflow.expected": ("ExpectedOutput",),
    "shoal.orchestration.workflow.message": ("WorkMessage", "WorkOrder"),
    "shoal.orchestration.workflow.orchestrator": ("Orchestrator",),
    "shoal.orchestration.workflow.plan": ("Plan",),
    "shoal.orchestration.workflow.recovery": ("Recovery", "RecoveryAction"),
    "shoal.orchestration.workflow.recoverytext": ("recovery_text",),
    "shoal.orchestration.workflow.report": ("CallRecord", "Escalation", "ReviewRecord", "StepRecord", "WorkflowReport"),
    "shoal.orchestration.workflow.review": ("Facts", "Issue", "Review"),
    "shoal.orchestration.workflow.rules": ("requirements_first", "security_first"),
    "shoal.orchestration.workflow.trace": ("TraceEntry",),
    "shoal.orchestration.workflow.tracetext": ("trace_text",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'shoal.orchestration' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
