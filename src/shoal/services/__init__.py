"""Agents that serve others: found by what they can do, asked, balanced, protected and replaced.

The names are loaded when they are first used (PEP 562), each from the module that has it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.errors import (
        AgentDied,
        AlreadyAnsweredError,
        CircuitOpen,
        Deadlock,
        InfoError,
        NotFound,
        PoolFullError,
        RegistryUnavailableError,
        RequestError,
        RequestTimeout,
        ValidationFailed,
    )
    from shoal.kernel.agent import RestartPolicy
    from shoal.services import codes
    from shoal.services.agent import ServiceAgent
    from shoal.services.balancer import LoadBalancer
    from shoal.services.breaker import CircuitBreaker
    from shoal.services.bulkhead import Bulkhead
    from shoal.services.client import RegistryClient
    from shoal.services.info import AgentInfo, AgentRecord, AgentType
    from shoal.services.manager import AgentProcessManager
    from shoal.services.memory import MemoryAwareAgent
    from shoal.services.multi import MultiAgentProcess
    from shoal.services.orders import control_action
    from shoal.services.poolagents import ThreadPoolAgent
    from shoal.services.pools import Pool, PoolStats
    from shoal.services.processes import ProcessInfo
    from shoal.services.proxy import LoadBalancerAgent
    from shoal.services.registry import registry_app
    from shoal.services.requests import RequestHeader
    from shoal.services.services import Services
    from shoal.services.tally import Reply, WorkerStats
    from shoal.services.targets import Capability
    from shoal.services.views import from_agent99, to_agent99
    from shoal.services.watcher import AgentWatcher

_MODULES = {
    "shoal.errors": (
        "AgentDied",
        "AlreadyAnsweredError",
        "CircuitOpen",
        "Deadlock",
        "InfoError",
        "NotFound",
        "PoolFullError",
        "RegistryUnavailableError",
        "RequestError",
        "RequestTimeout",
        "ValidationFailed",
    ),
    "shoal.kernel.agent": ("RestartPolicy",),
    "shoal.services.agent": ("ServiceAgent",),
    "shoal.services.balancer": ("LoadBalancer",),
    "shoal.services.breaker": ("CircuitBreaker",),
    "shoal.services.bulkhead": ("Bulkhead",),
    "shoal.services.client": ("RegistryClient",),
    "shoal.services.info": ("AgentInfo", "AgentRecord", "AgentType"),
    "shoal.services.manager": ("AgentProcessManager",),
    "shoal.services.memory": ("MemoryAwareAgent",),
    "shoal.services.multi": ("MultiAgentProcess",),
    "shoal.services.orders": ("control_action",),
    "shoal.services.poolagents": ("ThreadPoolAgent",),
    "shoal.services.pools": ("Pool", "PoolStats"),
    "shoal.services.processes": ("ProcessInfo",),
    "shoal.services.proxy": ("LoadBalancerAgent",),
    "shoal.services.registry": ("registry_app",),
    "shoal.services.requests": ("RequestHeader",),
    "shoal.services.services": ("Services",),
    "shoal.services.tally": ("Reply", "WorkerStats"),
    "shoal.services.targets": ("Capability",),
    "shoal.services.views": ("from_agent99", "to_agent99"),
    "shoal.services.watcher": ("AgentWatcher",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AgentDied",
    "AgentInfo",
    "AgentProcessManager",
    "AgentRecord",
    "AgentType",
    "AgentWatcher",
    "AlreadyAnsweredError",
    "Bulkhead",
    "Capability",
    "CircuitBreaker",
    "CircuitOpen",
    "Deadlock",
    "InfoError",
    "LoadBalancer",
    "LoadBalancerAgent",
    "MemoryAwareAgent",
    "MultiAgentProcess",
    "NotFound",
    "Pool",
    "PoolFullError",
    "PoolStats",
    "ProcessInfo",
    "RegistryClient",
    "RegistryUnavailableError",
    "Reply",
    "RequestError",
    "RequestHeader",
    "RequestTimeout",
    "RestartPolicy",
    "ServiceAgent",
    "Services",
    "ThreadPoolAgent",
    "ValidationFailed",
    "WorkerStats",
    "codes",
    "control_action",
    "from_agent99",
    "registry_app",
    "to_agent99",
]


def __getattr__(name: str) -> Any:
    """Load a name's module. Raises AttributeError for others."""
    if name == "codes":
        return importlib.import_module("shoal.services.codes")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
