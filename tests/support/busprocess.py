"""A node of a bus in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

__all__ = ["bus_process"]


@contextlib.asynccontextmanager
async def bus_process(program: Path, *words: str, serves: bool = True) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run ``python PROGRAM WORDS``, which says ``ready`` when it *serves*, and kill it at the end."""
    child = await asyncio.create_subprocess_exec(sys.executable, str(program), *words, stdout=asyncio.subprocess.PIPE)
    try:
        if serves:
            assert child.stdout is not None
            assert await child.stdout.readline() == b"ready\n"
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
