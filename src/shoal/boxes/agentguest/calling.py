"""One call in a child of its own: what stands there in place of an agent."""

from __future__ import annotations

import inspect
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from shoal.kernel.trace import Span, current_span

__all__ = ["call_program"]


async def call_program(program: bytes, span: Span | None, _task: object) -> Any:
    """Unpack a callable without parameters, call it within *span*, and return what it returns, awaited if need be."""
    current_span.set(span)  # of this asyncio task, which is the call's own
    value = cloudpickle.loads(program)()
    return await value if inspect.isawaitable(value) else value
