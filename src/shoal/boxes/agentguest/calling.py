"""One call in a child of its own: what stands there in place of an agent."""

from __future__ import annotations

import inspect
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

__all__ = ["call_program"]


async def call_program(program: bytes, _task: object) -> Any:
    """Unpack a callable without parameters, call it, and return what it returns, awaited if need be."""
    value = cloudpickle.loads(program)()
    return await value if inspect.isawaitable(value) else value
