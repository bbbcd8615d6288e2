"""The hooks of an agent's life: each in an asyncio task of its own, and in bounded time, whatever its code does."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from shoal.errors import AgentError, NoHandlerError
from shoal.kernel.ending import ended_within, run_bounded
from shoal.kernel.env import LEAST_SECONDS
from shoal.kernel.failure import Failure

if TYPE_CHECKING:
    from shoal.kernel.cell import Cell

__all__ = ["STOP_HOOK_SECONDS", "hand_over", "run_hook", "run_on_stop"]

STOP_HOOK_SECONDS = 5.0


async def run_hook(cell: Cell, hook: str, argument: Any = None, *, seconds: float | None = None) -> Any:
    """Run a hook if the agent has it; it has *seconds* (None: as configured), then the grace of a cancel.

    What it raises is noted as an event and raised; TimeoutError when its time was over.
    """
    if hook not in cell.abilities.hooks:
        return None
    env, settings = cell.env, cell.env.settings
    entry = cell.enter(hook, argument)
    try:
        return await run_bounded(
            entry,
            env.within(settings.hook_timeout_seconds if seconds is None else seconds),
            settings.cancel_grace_seconds if env.give_up_at is None else LEAST_SECONDS,
        )
    except asyncio.CancelledError as error:
        mine = asyncio.current_task()
        if mine is not None and mine.cancelling():
            raise
        cell.post.hook_failed(cell, hook, Failure.of(error))  # the agent's own: it awaited something that was cancelled
        raise AgentError(f"{hook} of {cell.name!r} was cancelled from within", agent_id=cell.agent_id) from error
    except Exception as error:
        cell.post.hook_failed(cell, hook, Failure.of(error))
        raise
    finally:
        cell.leave(entry)


async def hand_over(cell: Cell, order: Mapping[str, Any], seconds: float) -> Any:
    """Hand an order to an agent's ``on_control`` and return what it answers.

    Nothing is enforced: code that is busy has not failed, and an order that hangs keeps no further one waiting.
    Raises NoHandlerError, TimeoutError after *seconds*, what the hook raises.
    """
    if "on_control" not in cell.abilities.hooks:
        raise NoHandlerError(f"Agent {cell.name!r} has no on_control")
    if any(entry.stopping and entry.invocation.hook == "on_control" for entry in cell.entries.values()):
        raise TimeoutError(f"an earlier order to {cell.name!r} hangs")
    entry = cell.enter("on_control", dict(order))
    work = cell.env.watch(cell.handle.invoke(entry.invocation), f"order to {cell.name}")
    entry.asyncio_task = work
    work.add_done_callback(lambda _: cell.leave(entry))
    try:
        if await ended_within(entry, seconds):
            if work.cancelled():
                raise AgentError(f"an order to {cell.name!r} was cut short", agent_id=cell.agent_id, name=cell.name)
            return work.result()
    finally:
        if not work.done():
            entry.stopping = True
            work.cancel()
    raise TimeoutError(f"an order to {cell.name!r} took longer than {seconds:g} s")


async def run_on_stop(cell: Cell) -> None:
    """Let an agent clean up; nothing that happens there keeps it from ending."""
    try:
        await run_hook(cell, "on_stop", seconds=STOP_HOOK_SECONDS)
    except Exception:  # noqa: BLE001  noted as agent_hook_failed
        return
