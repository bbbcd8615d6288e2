"""What runs in a process of a pool: it carries out one piece of work after the other, until its pool leaves it."""

from __future__ import annotations

import asyncio
import inspect
import socket
import struct
from collections.abc import Callable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import msgspec

from shoal.errors import RequestError
from shoal.kernel.failure import Failure
from shoal.kernel.payload import checked
from shoal.kernel.trace import current_span
from shoal.services.requests import error_payload

__all__ = ["LENGTH", "TAKEN", "Answer", "Serve", "call_now"]

LENGTH = struct.Struct("!Q")
"""Before each piece of work and each answer stands how many bytes it has."""

TAKEN = b"\x01"
"""Is said before work begins: what was not taken has surely not run."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of a piece of work: ``refused`` is a RequestError as a payload, ``failure`` any other error."""

    value: Any = None
    refused: dict[str, Any] | None = None
    failure: Failure | None = None


class Serve:
    """Serves the pool that listens at *path*, as the program of a child.

    What it unpickles comes from the pool, whose folder nobody else may enter; what it answers is JSON.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    async def __call__(self) -> None:
        """Serve until the pool ends the connection; the loop stays free for the runtime's words."""
        await asyncio.to_thread(self._serve)

    def _serve(self) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self._path)
            with connection.makefile("rb") as stream:
                while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                    work = stream.read(LENGTH.unpack(head)[0])
                    connection.sendall(TAKEN)
                    answer = msgspec.json.encode(_answer(work))
                    connection.sendall(LENGTH.pack(len(answer)) + answer)


def call_now(fn: Callable[..., Any], *args: Any) -> Any:
    """Return ``fn(*args)``. Raises TypeError: *fn* is asynchronous."""
    value = fn(*args)
    if inspect.iscoroutine(value):
        value.close()
        raise TypeError(f"{getattr(fn, '__qualname__', fn)!s:.80} is asynchronous: await it, it needs no pool")
    return value


def _answer(work: bytes) -> Answer:
    try:
        fn, args, span = cloudpickle.loads(work)
        current_span.set(span)  # of this thread, until the next work
        value, _ = checked(call_now(fn, *args), "result")
    except RequestError as error:
        return Answer(refused=error_payload(error))
    except BaseException as error:  # noqa: BLE001  the work's own code: the caller is told
        return Answer(failure=Failure.of(error))
    return Answer(value=value)
