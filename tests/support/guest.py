"""A real guest process of a box, spoken to in frames: what a runtime would say is said by the test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle  # type: ignore[import-untyped]
import msgspec

from shoal.boxes import boxwire, wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.guest.frames import blocks
from shoal.boxes.launch import LaunchOrder
from shoal.boxes.process import ProcessLauncher
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.kernel.clock import RealClock

R = TypeVar("R")
WITHIN = 20.0
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"}


class Guest:
    """One guest. ``frames`` are those nobody has asked for yet; ``streams`` what came in B frames."""

    def __init__(self, box_id: str) -> None:
        self.box_id = box_id
        order = LaunchOrder(box_id=box_id, directory=state_directory(box_id))
        self.child = ChildProcess(ProcessLauncher().build(order), "process", 11 << 20, RealClock())
        self.child.owner = self
        self.frames: list[Any] = []
        self.lines: list[tuple[str, str]] = []
        self.streams: dict[int, bytearray] = {}
        self.code: int | None = None
        self._news = asyncio.Event()
        self._numbers = itertools.count(1000)

    # -- what it says

    def on_frame(self, kind: int, body: bytes) -> None:
        record = wire.decode_record(kind, body, boxwire.from_box)
        if isinstance(record, wire.Block):
            self.streams.setdefault(record.stream, bytearray()).extend(record.data)
        else:
            self.frames.append(record)
            self._news.set()

    def on_line(self, stream: str, line: str) -> None:
        self.lines.append((stream, line))

    def on_exit(self, code: int) -> None:
        self.code = code
        self._news.set()

    def text(self, stream: str = "stdout") -> str:
        return "".join(line for name, line in self.lines if name == stream)

    async def frame(self, cls: type[R], **fields: Any) -> R:
        """Wait for a frame of that class with these fields, and take it."""
        async with asyncio.timeout(WITHIN):
            while True:
                for place, record in enumerate(self.frames):
                    if isinstance(record, cls) and all(getattr(record, key) == value for key, value in fields.items()):
                        del self.frames[place]
                        return record
                assert self.code is None, f"ended with {self.code} before {cls.__name__} {fields}: {self.lines}"
                self._news.clear()
                await self._news.wait()

    async def ended(self) -> int:
        async with asyncio.timeout(WITHIN):
            return await asyncio.shield(self.child.reaped)

    # -- what is said to it

    def send(self, *records: Any) -> None:
        for record in records:
            self.child.channel.send(wire.encode_record(record))

    def send_stream(self, number: int, data: bytes) -> None:
        for block in blocks(number, data):
            self.child.channel.send(block)

    def assign(self, **more: Any) -> None:
        given: dict[str, Any] = {"name": "a", "env": ENVIRONMENT, "path": import_path(), **more}
        self.send(wire.Preload(path=import_path(), load=("shoal_guest.box",)), boxwire.AssignBox(**given))

    async def run(
        self,
        task: Callable[[], Any] | None = None,
        *,
        messages: tuple[Callable[..., Any], ...] = (),
        events: tuple[tuple[str, Callable[..., Any]], ...] = (),
        **assign: Any,
    ) -> Guest:
        """Give it functions; returns when it is ready."""
        self.assign(**assign)
        self.program({"task": task, "messages": list(messages), "events": list(events)})
        ready = await self.frame(boxwire.BoxReady)
        assert ready.error is None, ready.error
        return self

    def program(self, parts: dict[str, Any]) -> None:
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        modules = {sys.modules[f.__module__] for f in _functions(parts) if f.__module__.startswith("tests.")}
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        packed = cloudpickle.dumps(parts)
        for module in [*modules, sys.modules[__name__]]:
            cloudpickle.unregister_pickle_by_value(module)
        number = next(self._numbers)
        self.send_stream(number, packed)
        self.send(boxwire.BoxProgram(stream=number, size=len(packed)))

    async def run_script(self, source: str, *args: str, **assign: Any) -> Guest:
        self.assign(**assign)
        data = source.encode()
        number = next(self._numbers)
        self.send_stream(number, data)
        self.send(boxwire.Script(stream=number, size=len(data), path="agent.py", args=args))
        ready = await self.frame(boxwire.BoxReady)
        assert ready.error is None, ready.error
        return self

    def message(self, number: int, data: Any = None, *, sender: str = "b", over: int | None = None) -> None:
        self.send(boxwire.Message(id=number, sender=sender, data=raw(data), over=over))

    def event(self, number: int, event: str, data: Any = None) -> None:
        self.send(boxwire.Event(id=number, sender="b", event=event, data=raw(data)))

    def answer(self, number: int, data: Any = None) -> None:
        self.send(boxwire.Answer(id=number, data=raw(data)))

    def refuse(self, number: int, error: str, text: str = "", **attributes: Any) -> None:
        self.send(boxwire.Answer(id=number, error=wire.ErrorRecord(type=error, text=text, attributes=attributes)))

    async def reply(self, number: int) -> Any:
        """Return what it answered to a message."""
        record = await self.frame(boxwire.Reply, id=number)
        assert record.error is None, record.error
        return msgspec.json.decode(record.data)

    async def error(self, number: int) -> wire.ErrorRecord:
        """Return the error with which it answered a message."""
        record = await self.frame(boxwire.Reply, id=number)
        assert record.error is not None, record
        return record.error

    async def exec(self, *command: str, number: int | None = None, stdin: bytes = b"", **more: Any) -> boxwire.ExecEnd:
        number = next(self._numbers) if number is None else number
        self.send_stream(number, stdin)
        self.send(boxwire.Exec(id=number, command=command, **more))
        return await self.frame(boxwire.ExecEnd, id=number)


def _functions(parts: dict[str, Any]) -> list[Any]:
    found = [parts["task"], *parts["messages"], *(handler for _, handler in parts["events"])]
    return [function for function in found if function is not None]


def raw(value: Any) -> msgspec.Raw:
    return value if isinstance(value, msgspec.Raw) else msgspec.Raw(msgspec.json.encode(value))


def import_path() -> tuple[str, ...]:
    return (str(Path(cloudpickle.__file__).parents[1]),)


@contextlib.asynccontextmanager
async def guest() -> AsyncIterator[Guest]:
    """A started child that is killed at the end."""
    one = Guest(new_box_id())
    try:
        yield one
    finally:
        one.child.kill()
        await one.child.reaped
        forget_directory(one.box_id)
