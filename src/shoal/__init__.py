"""Shoal: a runtime for teams of agents.

The public names are loaded when they are first used (PEP 562): ``import shoal`` opens no database and loads no backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.runtime import (
        AgentContext as AgentContext,
    )
    from shoal.runtime import (
        AgentInstance as AgentInstance,
    )
    from shoal.runtime import (
        AgentMessage as AgentMessage,
    )
    from shoal.runtime import (
        AgentProtocol as AgentProtocol,
    )
    from shoal.runtime import (
        AgentRuntime as AgentRuntime,
    )
    from shoal.runtime import (
        AgentStatus as AgentStatus,
    )
    from shoal.runtime import (
        BaseAgent as BaseAgent,
    )
    from shoal.runtime import (
        Capacity as Capacity,
    )
    from shoal.runtime import (
        Config as Config,
    )
    from shoal.runtime import (
        DeadLetter as DeadLetter,
    )
    from shoal.runtime import (
        Event as Event,
    )
    from shoal.runtime import (
        EventFilter as EventFilter,
    )
    from shoal.runtime import (
        EventType as EventType,
    )
    from shoal.runtime import (
        QueuePosition as QueuePosition,
    )
    from shoal.runtime import (
        ResourceLimit as ResourceLimit,
    )
    from shoal.runtime import (
        RestartPolicy as RestartPolicy,
    )
    from shoal.runtime import (
        RetryPolicy as RetryPolicy,
    )
    from shoal.runtime import (
        RuntimeStatus as RuntimeStatus,
    )
    from shoal.runtime import (
        Severity as Severity,
    )
    from shoal.runtime import (
        SharedStore as SharedStore,
    )
    from shoal.runtime import (
        SharedValue as SharedValue,
    )
    from shoal.runtime import (
        Task as Task,
    )
    from shoal.runtime import (
        TaskSpec as TaskSpec,
    )
    from shoal.runtime import (
        TaskStatus as TaskStatus,
    )

__version__ = "0.1.0"

_RUNTIME = ["AgentContext", "AgentInstance", "AgentMessage", "AgentProtocol", "AgentRuntime", "AgentStatus", "BaseAgent", "Capacity", "Config", "DeadLetter", "Event", "EventFilter", "EventType", "QueuePosition", "ResourceLimit", "RestartPolicy", "RetryPolicy", "RuntimeStatus", "Severity", "SharedStore", "SharedValue", "Task", "TaskSpec", "TaskStatus"]

__all__ = [*_RUNTIME, "__version__", "errors"]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("shoal.errors")
    if name in _RUNTIME:
        return getattr(importlib.import_module("shoal.runtime"), name)
    errors = importlib.import_module("shoal.errors")
    if name in errors.__all__ and name[0].isupper():
        return getattr(errors, name)
    raise AttributeError(f"module 'shoal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
