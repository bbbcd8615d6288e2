"""Shoal: a runtime for teams of agents.

The public names are loaded when they are first used (PEP 562): ``import shoal`` opens no database and loads no backend.
Every error class of ``shoal.errors`` is found here, too.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal import errors
    from shoal.boxes import BoxLimits, BoxRuntime, BoxSpec
    from shoal.boxes import probe as probe_isolation
    from shoal.client import open_store
    from shoal.kernel.budget import Budget, LoopLimits
    from shoal.kernel.usage import Usage
    from shoal.llm import (
        Agent,
        LockManager,
        MCPTools,
        MessageStore,
        ThreadSafeMessageStore,
        ThreadStore,
        Tool,
        ToolContext,
        UserContextStore,
        get_lock,
        thread_safe_tool,
        tool,
        with_lock,
    )
    from shoal.runtime import (
        AgentContext,
        AgentInstance,
        AgentMessage,
        AgentProtocol,
        AgentRuntime,
        AgentStatus,
        BaseAgent,
        Capacity,
        Config,
        DeadLetter,
        Event,
        EventFilter,
        EventType,
        QueuePosition,
        ResourceLimit,
        RestartPolicy,
        RetryPolicy,
        RuntimeStatus,
        Severity,
        SharedStore,
        SharedValue,
        Task,
        TaskSpec,
        TaskStatus,
    )
    from shoal.teamfile import TeamFile, load_team

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "AgentContext",
    "AgentInstance",
    "AgentMessage",
    "AgentProtocol",
    "AgentRuntime",
    "AgentStatus",
    "BaseAgent",
    "BoxLimits",
    "BoxRuntime",
    "BoxSpec",
    "Budget",
    "Capacity",
    "Config",
    "DeadLetter",
    "Event",
    "EventFilter",
    "EventType",
    "LockManager",
    "LoopLimits",
    "MCPTools",
    "MessageStore",
    "QueuePosition",
    "ResourceLimit",
    "RestartPolicy",
    "RetryPolicy",
    "RuntimeStatus",
    "Severity",
    "SharedStore",
    "SharedValue",
    "Task",
    "TaskSpec",
    "TaskStatus",
    "TeamFile",
    "ThreadSafeMessageStore",
    "ThreadStore",
    "Tool",
    "ToolContext",
    "Usage",
    "UserContextStore",
    "__version__",
    "errors",
    "get_lock",
    "load_team",
    "open_store",
    "probe_isolation",
    "thread_safe_tool",
    "tool",
    "with_lock",
]

_BOXES = {"BoxLimits": "BoxLimits", "BoxRuntime": "BoxRuntime", "BoxSpec": "BoxSpec", "probe_isolation": "probe"}
_CLIENT = frozenset({"open_store"})
_KERNEL = {"Budget": "budget", "LoopLimits": "budget", "Usage": "usage"}
_LLM = frozenset(
    {
        "Agent",
        "LockManager",
        "MCPTools",
        "MessageStore",
        "ThreadSafeMessageStore",
        "ThreadStore",
        "Tool",
        "ToolContext",
        "UserContextStore",
        "get_lock",
        "thread_safe_tool",
        "tool",
        "with_lock",
    }
)
_TEAMFILE = frozenset({"TeamFile", "load_team"})
_RUNTIME = frozenset(__all__) - {"__version__", "errors", *_BOXES, *_CLIENT, *_KERNEL, *_LLM, *_TEAMFILE}


def __getattr__(name: str) -> Any:
    errors = importlib.import_module("shoal.errors")
    if name == "errors":
        return errors
    if name in _RUNTIME:
        return getattr(importlib.import_module("shoal.runtime"), name)
    if name in _BOXES:
        return getattr(importlib.import_module("shoal.boxes"), _BOXES[name])
    if name in _LLM:
        return getattr(importlib.import_module("shoal.llm"), name)
    if name in _KERNEL:
        return getattr(importlib.import_module(f"shoal.kernel.{_KERNEL[name]}"), name)
    if name in _CLIENT:
        return getattr(importlib.import_module("shoal.client"), name)
    if name in _TEAMFILE:
        return getattr(importlib.import_module("shoal.teamfile"), name)
    if name in errors.__all__ and name[0].isupper():
        return getattr(errors, name)
    raise AttributeError(f"module 'shoal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
