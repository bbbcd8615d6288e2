"""Boxes: isolated places where code runs and talks, at four levels of isolation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.boxes.audit import Audit, AuditRecord
    from shoal.boxes.box import Box
    from shoal.boxes.logs import LogLine
    from shoal.boxes.policy import BoxPolicy
    from shoal.boxes.probing import ProbeResult, probe
    from shoal.boxes.results import BoxStats, ExecResult
    from shoal.boxes.runtime import BoxRuntime
    from shoal.boxes.spec import BoxLimits, BoxSpec, Mount

_HOME = {
    "Audit": "audit",
    "AuditRecord": "audit",
    "Box": "box",
    "BoxLimits": "spec",
    "BoxPolicy": "policy",
    "BoxRuntime": "runtime",
    "BoxSpec": "spec",
    "BoxStats": "results",
    "ExecResult": "results",
    "LogLine": "logs",
    "Mount": "spec",
    "ProbeResult": "probing",
    "probe": "probing",
}

__all__ = [
    "Audit",
    "AuditRecord",
    "Box",
    "BoxLimits",
    "BoxPolicy",
    "BoxRuntime",
    "BoxSpec",
    "BoxStats",
    "ExecResult",
    "LogLine",
    "Mount",
    "ProbeResult",
    "probe",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
