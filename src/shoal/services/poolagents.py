"""A service whose work runs in two pools: one for the processor, one for waiting."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import Any

from shoal.errors import InfoError, PoolFullError, RequestError, RequestTimeout
from shoal.services import codes
from shoal.services.agent import ServiceAgent
from shoal.services.pools import Pool

__all__ = ["ThreadPoolAgent"]

CPU: dict[str, Any] = {"kind": "thread", "min_size": 2, "max_size": 4, "max_queue": 100}
IO: dict[str, Any] = {"kind": "thread", "min_size": 5, "max_size": 20, "max_queue": 1000}
IO_TASKS = frozenset({"io_intensive", "network"})


class ThreadPoolAgent(ServiceAgent):
    """Runs ``perform_task`` of each request in one of its pools. Override ``info`` and ``perform_task``.

    ``task_type`` of a request chooses: ``io_intensive`` and ``network`` go to ``io_pool`` (5 to 20 threads, 1,000 may wait),
    ``cpu_intensive`` and all others to ``cpu_pool`` (2 to 4, 100). The config keys ``cpu`` and ``io`` are dicts that change
    kind, min_size, max_size, max_queue and idle. Answers with errors: TIMEOUT after 30 s, EXECUTION_ERROR with what
    ``perform_task`` raised, POOL_FULL (retryable, since nothing ran).

    Attributes:
        cpu_pool, io_pool: the pools.
        task_timeout: seconds for each request.
        concurrency: the sizes and queues of both, and one more, so that a request too many is refused and does not wait.
    """

    task_timeout = 30.0

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.cpu_pool = _pool("cpu", CPU, self.config)
        self.io_pool = _pool("io", IO, self.config)
        self.concurrency = self.cpu_pool.capacity + self.io_pool.capacity + 1

    def pool_for(self, payload: Mapping[str, Any]) -> Pool:
        """Return the pool for a request."""
        return self.io_pool if payload.get("task_type") in IO_TASKS else self.cpu_pool

    def perform_task(self, payload: dict[str, Any]) -> Any:
        """Do the work of a request, in a thread or process; what is no dict is answered as ``{"result": ...}``."""
        raise NotImplementedError(f"{type(self).__name__} has no perform_task of its own")

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer with what ``perform_task`` returns."""
        pool = self.pool_for(payload)
        perform = self.perform_task
        if pool.kind == "process":
            perform = functools.partial(_perform, type(self), dict(self.config))
        try:
            value = await pool.run(perform, payload, timeout=self.task_timeout)
        except PoolFullError as error:
            raise RequestError(codes.POOL_FULL, str(error), retryable=True) from error
        except RequestTimeout as error:
            raise RequestTimeout(f"Task timed out: {error.message}") from error
        except RequestError:
            raise
        except Exception as error:
            raise RequestError(codes.EXECUTION_ERROR, f"Task failed: {error}") from error
        return value if isinstance(value, dict) else {"result": value}

    async def on_stop(self) -> None:
        """Close both pools: 10 s for what was taken."""
        await asyncio.gather(self.cpu_pool.close(), self.io_pool.close())


def _perform(cls: type[ThreadPoolAgent], config: dict[str, Any], payload: dict[str, Any]) -> Any:
    """Do the work in a process, where an agent of the same class is made for it."""
    return cls(config).perform_task(payload)


def _pool(name: str, usual: Mapping[str, Any], config: Mapping[str, Any]) -> Pool:
    """Return a pool of the usual kind and sizes, changed by what the config says of it. Raises InfoError."""
    given = config.get(name) or {}
    if not isinstance(given, Mapping):
        raise InfoError(f"config {name!r} must be a dict, not {given!r:.80}")
    unknown = [key for key in given if key not in (*usual, "idle")]
    if unknown:
        raise InfoError(f"config {name!r}: unknown keys {', '.join(map(repr, unknown))}")
    try:
        return Pool(name, **{**usual, **given})
    except ValueError as error:
        raise InfoError(f"config {name!r}: {error}") from error
