"""A service that looks after its memory: it measures, collects, and takes large data in pieces."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Any

from shoal.services.agent import ServiceAgent

__all__ = ["MemoryAwareAgent", "memory_mb"]

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def memory_mb() -> float:
    """Return the resident memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / MIB


class MemoryAwareAgent(ServiceAgent):
    """Answers requests with ``data``: small ones at once, large ones in chunks. Override ``info`` and the three methods.

    The class attributes can be changed by config keys of the same names.

    Attributes:
        memory_check_interval: after so many requests its memory is read.
        memory_limit_mb: above this it warns, collects garbage, reads again.
        stream_threshold: more items than these are taken in chunks, and so is what has no length.
        chunk: items of a chunk.
    """

    memory_check_interval = 100
    memory_limit_mb: float = 500
    stream_threshold = 10_000
    chunk = 1_000

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        """Raises ValueError: one of these numbers is not positive."""
        super().__init__(config)
        for name in ("memory_check_interval", "memory_limit_mb", "stream_threshold", "chunk"):
            value = self.config.get(name, getattr(self, name))
            kinds = (int, float) if name == "memory_limit_mb" else int
            if isinstance(value, bool) or not isinstance(value, kinds) or not value > 0:
                raise ValueError(f"{name} must be a positive {'whole ' * (kinds is int)}number, not {value!r:.80}")
            setattr(self, name, value)
        self._requests = 0

    def memory_mb(self) -> float:
        """Return the resident memory of the process in MB."""
        return memory_mb()

    def process_small_data(self, data: Any) -> dict[str, Any] | None:
        """Answer a request of up to ``stream_threshold`` items."""
        raise NotImplementedError(f"{type(self).__name__} has no process_small_data of its own")

    def process_chunk(self, chunk: list[Any], state: Any) -> Any:
        """Take the next items of a large request; return the state for those after them. The first gets None."""
        raise NotImplementedError(f"{type(self).__name__} has no process_chunk of its own")

    def finish(self, state: Any) -> dict[str, Any] | None:
        """Return the answer of a large request from what the last chunk left."""
        raise NotImplementedError(f"{type(self).__name__} has no finish of its own")

    def process_request(self, payload: dict[str, Any]) -> dict[str, Any] | None:
        """Answer with what becomes of ``payload["data"]``."""
        self._requests += 1
        if self._requests % self.memory_check_interval == 0:
            self.check_memory()
        return self.process(payload.get("data"))

    def process(self, data: Any) -> dict[str, Any] | None:
        """Return the answer for *data*, in chunks when it is large."""
        if not isinstance(data, Iterable) or isinstance(data, (str, bytes, dict)):
            return self.process_small_data(data)
        if isinstance(data, Sized) and len(data) <= self.stream_threshold:
            return self.process_small_data(data)
        state = None
        items = iter(data)
        while chunk := list(itertools.islice(items, self.chunk)):
            state = self.process_chunk(chunk, state)
        return self.finish(state)

    def check_memory(self) -> None:
        """Warn, collect and read again when there is too much."""
        before = self.memory_mb()
        if before <= self.memory_limit_mb:
            return
        self.logger.warning("High memory usage: %.0f MB, the limit is %g", before, self.memory_limit_mb)
        gc.collect()
        self.logger.info("Memory after collection: %.0f MB", self.memory_mb())
