"""An MCP server as a child: its pipes as the SDK's streams, and its end, whoever cancels meanwhile.

The SDK's own transport loses a server whose end is under way when the event loop closes: the loop cancels the asyncio task
that waits for it. Here that only makes it quicker.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.errors import ToolError
from shoal.kernel.bounded import end
from shoal.kernel.ports import Clock

__all__ = ["stdio"]

GUARD = Path(__file__).with_name("mcpguard.py")
GRACE_SECONDS = 2.0
"""What a server has to end by itself when its stdin is closed; and what is left of it, when it is killed."""
LOOK_SECONDS = 0.01
CHUNK = 1 << 16


@contextlib.asynccontextmanager
async def stdio(command: Sequence[str], env: Mapping[str, str], clock: Clock) -> AsyncIterator[tuple[Any, Any]]:
    """Start a server behind its guard; gives the streams of messages from it and to it. At the end nothing of it is left."""
    import anyio
    from mcp.client.stdio import get_default_environment

    process = _started(command, {**get_default_environment(), **env})
    child = _Child(process, clock)
    incoming, received = anyio.create_memory_object_stream[Any](0)
    to_send, outgoing = anyio.create_memory_object_stream[Any](0)
    work: list[asyncio.Task[Any]] = []
    try:
        source = await child.connect()
        loop = asyncio.get_running_loop()
        work.append(loop.create_task(_receive(source, incoming), name="mcp receive"))
        work.append(loop.create_task(child.send(outgoing), name="mcp send"))
        yield received, to_send
    finally:
        for stream in (incoming, received, to_send, outgoing):
            stream.close()
        await child.end(work)


def _started(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *command]
    try:
        return subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(env), start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise ToolError(f"the MCP server {command[0]!r:.200} cannot be started: {error}") from error


async def _receive(source: asyncio.StreamReader, incoming: Any) -> None:
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    rest = bytearray()
    try:
        async with incoming:
            while chunk := await source.read(CHUNK):
                rest += chunk
                if b"\n" not in chunk:
                    continue
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    try:
                        message = SessionMessage(jsonrpc_message_adapter.validate_json(bytes(line), by_name=False))
                    except ValueError as error:
                        await incoming.send(error)  # the session decides what to make of it
                    else:
                        await incoming.send(message)
    except (anyio.ClosedResourceError, anyio.BrokenResourceError):
        while await source.read(CHUNK):  # nobody listens any more; who cannot write does not end
            continue


class _Child:
    def __init__(self, process: subprocess.Popen[bytes], clock: Clock) -> None:
        self._process = process
        self._clock = clock
        self._pipes: list[asyncio.BaseTransport] = []

    async def connect(self) -> asyncio.StreamReader:
        """Return what it writes."""
        loop = asyncio.get_running_loop()
        source = asyncio.StreamReader()
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, self._process.stdin)
        self._pipes.append(self._stdin)
        stdout, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), self._process.stdout)
        self._pipes.append(stdout)
        return source

    async def send(self, outgoing: Any) -> None:
        """Write what there is to send."""
        async for message in outgoing:
            if self._stdin.is_closing():
                return
            text: str = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            self._stdin.write(f"{text}\n".encode())

    async def end(self, work: list[asyncio.Task[Any]]) -> None:
        """End it: its stdin is closed; who has not ended then is killed. Raises the cancellation that came meanwhile."""
        cancelled: asyncio.CancelledError | None = None
        if self._pipes:
            self._pipes[0].close()
        began = self._clock.monotonic()
        asked = False
        while self._process.poll() is None:
            late = self._clock.monotonic() - began
            if late > 2 * GRACE_SECONDS:
                self._process.kill()
            elif not asked and (late > GRACE_SECONDS or cancelled is not None or len(self._pipes) < 2):
                asked = True
                self._process.terminate()  # its guard kills all that there is
            try:
                await self._clock.sleep(LOOK_SECONDS)
            except asyncio.CancelledError as error:
                cancelled = error
        for pipe in self._pipes:
            pipe.close()
        for file in (self._process.stdin, self._process.stdout)[len(self._pipes) :]:
            assert file is not None
            file.close()
        await end(work, self._clock)
        await self._clock.sleep(0)  # the loop closes the pipes in its next turn
        if cancelled is not None:
            raise cancelled
