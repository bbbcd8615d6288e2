"""An agent in a child: the inline host of the kernel, with a wire where the runtime would be."""

from __future__ import annotations

import asyncio
import atexit
import collections
import gc
import os
import resource
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import cloudpickle  # type: ignore[import-untyped]
import msgspec

from shoal.boxes import wire
from shoal.boxes.agentguest.link import WireLink
from shoal.boxes.agentguest.spans import SpanPost
from shoal.boxes.agentguest.terminating import TERMINATED, Terminating
from shoal.boxes.agentguest.title import show_title
from shoal.boxes.faults import rebuild_error, to_record
from shoal.boxes.guest.channel import Channel
from shoal.boxes.guest.frames import JSON, FrameError, Splitter
from shoal.boxes.guest.watchdog import PARENT_GONE, watch_parent
from shoal.errors import AgentStartError, MessageTooLargeError
from shoal.kernel.adjusted import AdjustedClock
from shoal.kernel.clock import RealClock
from shoal.kernel.inline import InlineHandle
from shoal.kernel.message import AgentMessage
from shoal.kernel.payload import checked
from shoal.kernel.ports import Invocation, LaunchSpec
from shoal.kernel.threads import DaemonPool

_FRAME_LIMIT = 1 << 31  # the parent is trusted; its own limits hold
_ERRORS_KEPT = 64


class Guest:
    """One agent, told what to do by frames."""

    def __init__(self, channel: int, first: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._clock = AdjustedClock(RealClock())
        self._blocks: dict[int, list[bytes]] = {}
        self._assign: wire.Assign | None = None
        self._handle: InlineHandle | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._holding: asyncio.Task[None] | None = None
        self._raised: collections.OrderedDict[str, BaseException] = collections.OrderedDict()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._channel = Channel(self._loop, channel, Splitter(_FRAME_LIMIT), self._on_frame, self._on_end)
        self._link = WireLink(self._channel, self._send)
        self._spans = SpanPost(self._loop, self._channel, self._send)
        self._terminating = Terminating(self._loop, self._told_to_end)
        self._actions: dict[type, Any] = {
            wire.Assign: self._assigned,
            wire.Program: self._program,
            wire.Invoke: self._invoke,
            wire.Result: self._link.answered,
            wire.Cancel: self._cancel,
            wire.Interrupt: self._interrupt,
            wire.Stopping: self._link.stopping,
            wire.Hold: self._begin_hold,
            wire.Release: self._release,
            wire.Listen: self._spans.listen,
            wire.Ping: lambda record: self._send(wire.Pong(id=record.id)),
            wire.Stop: lambda _: self._start(self._stop()),
        }
        self._on_frame(JSON, first)

    def _send(self, record: Any) -> None:
        # What user code printed before is out before the frame is.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        self._channel.send(wire.encode_record(record))

    def _on_frame(self, kind: int, body: bytes) -> None:
        record = wire.decode_record(kind, body, wire.to_guest)
        if isinstance(record, wire.Block):
            self._blocks.setdefault(record.stream, []).append(record.data)
        else:
            self._actions[type(record)](record)

    def _on_end(self, error: FrameError | None) -> None:
        os._exit(PARENT_GONE)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        work = self._loop.create_task(coroutine)
        self._background.add(work)
        work.add_done_callback(self._background.discard)
        return work

    # -- becoming an agent

    def _assigned(self, record: wire.Assign) -> None:
        self._assign = record
        self._link.bound(record.max_message, record.in_flight)
        sys.path[:] = record.path
        os.environ.update(record.env)
        if record.cwd is not None:
            os.chdir(record.cwd)
        if record.title:
            show_title(record.title)
        for name, value in record.rlimits.items():
            limit = getattr(resource, f"RLIMIT_{name.upper()}")
            hard = resource.getrlimit(limit)[1]
            most = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (most, most))

    def _program(self, record: wire.Program) -> None:
        self._start(self._construct(b"".join(self._blocks.pop(record.stream, ())), record.size))

    async def _construct(self, program: bytes, size: int) -> None:
        assert self._assign is not None and len(program) == size, "a program comes whole and after assign"
        assign = self._assign
        phase = "program"
        try:
            source = cloudpickle.loads(program)
            phase = "constructor"
            spec = LaunchSpec(
                agent_id=assign.agent_id,
                name=assign.name,
                source=source,
                config=assign.config,
                isolation="process",
                node_id=assign.node_id,
                runtime_id=assign.runtime_id,
            )
            self._handle = InlineHandle(spec, self._link, self._clock, DaemonPool(), own_process=True)
            abilities = await self._handle.ready()
        except Exception as error:  # noqa: BLE001 - whatever user code raises is reported to the runtime
            cause = error.__cause__ if isinstance(error, AgentStartError) and error.__cause__ else error
            self._send(wire.Ready(error=to_record(cause), phase=phase))
        else:
            self._terminating.at_once = False  # before anybody knows that it is there
            self._send(
                wire.Ready(
                    takes_tasks=abilities.takes_tasks,
                    takes_messages=abilities.takes_messages,
                    hooks=tuple(sorted(abilities.hooks)),
                )
            )

    # -- invocations

    def _invoke(self, record: wire.Invoke) -> None:
        self._clock.set(record.ahead)
        self._running[record.id] = self._loop.create_task(self._run(record))

    async def _run(self, record: wire.Invoke) -> None:
        try:
            assert self._handle is not None, "no invocation before ready"
            invocation = Invocation(
                invocation_id=record.id,
                hook=record.hook,
                argument=self._argument(record),
                task=record.task,
                chain=record.chain,
            )
            value = await self._handle.invoke(invocation)
            done = wire.Done(id=record.id, data=self._encoded(value))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - whatever user code raises is reported to the runtime
            self._remember(record.id, error)
            done = wire.Done(id=record.id, error=to_record(error, origin=record.id))
        finally:
            self._running.pop(record.id, None)
            self._link.forget(record.id)
        self._send(done)

    def _argument(self, record: wire.Invoke) -> Any:
        match record.hook:
            case "execute_task":
                return record.task
            case "on_message":
                return msgspec.convert(record.argument, AgentMessage)
            case "on_error":
                error = msgspec.convert(record.argument, wire.ErrorRecord)
                return self._raised.get(error.origin or "") or rebuild_error(error)
            case _:
                return record.argument

    def _encoded(self, value: Any) -> msgspec.Raw:
        assert self._assign is not None
        return msgspec.Raw(checked(value, "result", self._assign.max_message, MessageTooLargeError)[1])

    def _remember(self, invocation_id: str, error: BaseException) -> None:
        """Keep the error itself for ``on_error``, which then gets the object and not a copy."""
        self._raised[invocation_id] = error
        if len(self._raised) > _ERRORS_KEPT:
            self._raised.popitem(last=False)

    def _cancel(self, record: wire.Cancel) -> None:
        self._link.stopping(wire.Stopping(invocation=record.id))
        running = self._running.get(record.id)
        if running is not None:
            # After its first step: read in one go with its invocation it has not begun, and would end without an answer.
            self._loop.call_soon(running.cancel)

    def _interrupt(self, record: wire.Interrupt) -> None:
        if self._handle is not None:
            self._handle.interrupt(record.id)

    # -- holding and ending

    def _begin_hold(self, record: wire.Hold) -> None:
        self._holding = self._start(self._hold(record))

    async def _hold(self, record: wire.Hold) -> None:
        error = None
        try:
            if self._handle is not None:
                await self._handle.hold(record.timeout)
        except Exception as raised:  # noqa: BLE001 - the runtime raises it
            error = to_record(raised)
        self._send(wire.Held(id=record.id, error=error))

    def _release(self, _: wire.Release) -> None:
        # Read in one go with the hold that it ends, after a freeze: that has not begun, and must not any more.
        if self._holding is not None:
            self._holding.cancel()
        if self._handle is not None:
            self._handle.release()

    def _told_to_end(self) -> None:
        self._start(self._leave())

    async def _leave(self) -> None:
        """Have the runtime end the agent: what it has accepted is finished, and it is not started again."""
        try:
            await self._link.call("agent.told_to_end", None, {})
        except Exception as error:
            raise SystemExit(TERMINATED) from error

    async def _stop(self) -> None:
        self._terminating.at_once = True
        self._link.stopping(wire.Stopping())
        if self._handle is not None:
            self._handle.release()
        running = list(self._running.values())
        for one in running:
            one.cancel()
        if running:
            await asyncio.wait(running)
        self._spans.flush()
        if not self.ended.done():
            self.ended.set_result(None)


async def _serve(channel: int, first: bytes) -> None:
    await Guest(channel, first).ended


def serve(channel: int, first: bytes) -> NoReturn:
    """Act on *first*, the body of a frame, then serve frames until told to stop; never returns."""
    watch_parent(channel)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    # What is loaded now stays for good: the collector need not walk it again.
    gc.freeze()
    code = 0
    try:
        asyncio.new_event_loop().run_until_complete(_serve(channel, first))
    except SystemExit as error:
        code = _exit_code(error)
    _leave(code)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _leave(code: int) -> NoReturn:
    """End the process in order, but without waiting for threads that may never end."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
