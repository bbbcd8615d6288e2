"""How a command ends that runs agents: by Ctrl-C, once and twice, and with code that does not end when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import sysconfig
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

import shoal
from shoal.kernel.clock import RealClock
from shoal.kernel.limits import ResourceLimit
from shoal.runtime import AgentRuntime

__all__ = [
    "INTERRUPTED",
    "Interruption",
    "end_now",
    "in_loop",
    "in_runtime",
    "left_behind",
    "name_pool",
    "serving",
    "until_asked",
]

INTERRUPTED = 130
_KILLED = 128  # and the number of the signal: INTERRUPTED for SIGINT

_SETTLE_SECONDS = 0.5
_PATIENCE_SECONDS = 1.0
"""What the end may take before it is said what is waited for."""

_LOST_SECONDS = 0.5
"""How often it is looked whether the runtime was given up."""

_LOOK_SECONDS = 0.02
_SHOAL = str(Path(shoal.__file__).parent)
_LIBRARIES = ("site-packages", "dist-packages")
_STANDARD = ("<", sysconfig.get_paths()["stdlib"])


class Interruption:
    """SIGINT, or others, while agents run: the first asks for an orderly end, the second ends the process.

    It is heard between two bytecodes of the main thread, so also while an agent's code holds up the event loop.
    """

    def __init__(self, *numbers: signal.Signals) -> None:
        """*numbers*: the signals that are heard, without any SIGINT."""
        self._numbers = numbers or (signal.SIGINT,)
        self.standing: Callable[[], tuple[int, int]] = lambda: (0, 0)  # how many tasks run, and how many wait
        self.saying: Callable[[], str] = self._standing_text  # what the first signal says
        self.heard = False
        self.ending = False  # the work is done: there is nothing to cancel, so the next signal is the last
        self._cancel: Callable[[], object] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in self._numbers:
            self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def cancels_this(self) -> None:
        """Let the first signal cancel the asyncio task that calls."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)

    def asks(self) -> asyncio.Event:
        """Return what the first signal sets."""
        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        self._cancel = lambda: loop.call_soon_threadsafe(asked.set)
        if self.heard:
            asked.set()
        return asked

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard or self.ending:
            _show_cursor()
            os._exit(_KILLED + number)
        self.heard = True
        _write(self.saying())
        self._cancel()

    def _standing_text(self) -> str:
        running, waiting = self.standing()
        return f"stopping: {running} running, {waiting} waiting; once more to end now\n"


def _write(text: str) -> None:
    """Write to standard error past its buffer, which whoever was interrupted may be writing to."""
    os.write(2, (("\r\x1b[K" if _on_terminal() else "") + text).encode())


def _on_terminal() -> bool:
    return os.isatty(2)


def _show_cursor() -> None:
    """Undo what a progress bar or a live view has done to the terminal."""
    for terminal in (1, 2):
        if os.isatty(terminal):
            os.write(terminal, b"\x1b[?25h")
            return


def name_pool() -> None:
    """Give the running loop a pool for ``asyncio.to_thread`` whose threads are known by their name, as asyncio's are."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))


async def left_behind(grace: float) -> list[str]:
    """Cancel what agents left on this loop, wait for it, and return where code is that still runs.

    Args:
        grace: what threads of ``asyncio.to_thread`` have to end, in seconds. Others were told to end before.
    """
    clock = RealClock()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        try:
            async with clock.timeout(_SETTLE_SECONDS):
                await asyncio.wait(tasks)
        except TimeoutError:
            tasks = {task for task in tasks if not task.done()}
        else:
            tasks = set()
    deadline = clock.monotonic() + grace
    while _pool_threads() and clock.monotonic() < deadline:
        await clock.sleep(_LOOK_SECONDS)
    stuck = [_own_line(_stack(task)) or task.get_name() for task in tasks]
    return [*stuck, *_pool_threads(), *filter(None, (_own_line(stack) for _, stack in _threads("shoal-")))]


def _pool_threads() -> list[str]:
    """Return what threads of ``asyncio.to_thread`` execute, which Python would wait for at its end."""
    busy = [(name, stack) for name, stack in _threads("asyncio_") if stack and stack[0].f_code.co_name != "_worker"]
    return [_own_line(stack) or name for name, stack in busy]


def _threads(prefix: str) -> list[tuple[str, list[FrameType]]]:
    """Return the threads of that name with their frames, the innermost first."""
    frames = sys._current_frames()
    there = [thread for thread in threading.enumerate() if thread.name.startswith(prefix)]
    return [(thread.name, list(_callers(frames.get(thread.ident or 0)))) for thread in there]


def _callers(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _stack(task: asyncio.Task[object]) -> list[FrameType]:
    """Return the frames of a suspended asyncio task, the innermost first."""
    chain: list[FrameType] = []
    waiting: object = task.get_coro()
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        if frame is not None:
            chain.append(frame)
        waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "gi_yieldfrom", None)
    return chain[::-1]


def _own_line(frames: Iterable[FrameType]) -> str | None:
    """Return the innermost line that is neither Shoal's nor Python's, of a library only when there is no other."""
    library = None
    for frame in frames:
        name = frame.f_code.co_filename
        of_library = any(word in name for word in _LIBRARIES)
        if name.startswith(_SHOAL) or (name.startswith(_STANDARD) and not of_library):
            continue
        line = f"{Path(name).name}:{frame.f_lineno} in {frame.f_code.co_qualname}"
        if not of_library:
            return line
        library = library or line
    return library


async def in_runtime(url: str, interruption: Interruption, work: Callable[[AgentRuntime], Awaitable[int]]) -> int:
    """Do *work* in a runtime on the store at *url*, end both in order, and return the exit code that *work* returned."""
    interruption.cancels_this()
    runtime = AgentRuntime(store=url, resource_limits=ResourceLimit(max_task_queue_size=None))
    return await _within(runtime, interruption, lambda: work(runtime))


async def serving(
    runtime: AgentRuntime, interruption: Interruption, work: Callable[[asyncio.Event], Awaitable[int]]
) -> int:
    """Do *work* in *runtime* until it ends, as it does when a signal sets its event; end both as ``in_runtime`` does."""
    asked = interruption.asks()
    return await _within(runtime, interruption, lambda: work(asked))


async def until_asked(runtime: AgentRuntime, asked: asyncio.Event) -> None:
    """Wait until *asked* is set.

    Raises LeaseLostError: the process was frozen too long; its runtime is given up, and nothing of it works any more.
    """
    env = runtime.services.node.env
    while not asked.is_set():
        env.check_lease(known=True)
        with contextlib.suppress(TimeoutError):
            async with env.clock.timeout(_LOST_SECONDS):
                await asked.wait()


async def _within(runtime: AgentRuntime, interruption: Interruption, work: Callable[[], Awaitable[int]]) -> int:
    name_pool()
    await runtime.start()
    try:
        code = await work()
    finally:
        interruption.ending = True
        await _stop(runtime, quiet=interruption.heard)
    if left := await left_behind(runtime.settings.cancel_grace_seconds):
        end_now(code, left)
    return code


async def _stop(runtime: AgentRuntime, *, quiet: bool) -> None:
    """Stop, which is bounded: what was told to end has its grace, and is left then."""

    def say() -> None:
        print("waiting for what still runs; Ctrl-C ends it now", file=sys.stderr, flush=True)

    timer = None if quiet else RealClock().call_later(_PATIENCE_SECONDS, say)
    try:
        await runtime.stop()
    finally:
        if timer is not None:
            timer.cancel()


def in_loop(work: Callable[[Interruption], Coroutine[Any, Any, int]], *numbers: signal.Signals) -> int:
    """Do *work* in an event loop of its own, with Ctrl-C or the signals *numbers* heard, and return its exit code."""
    with Interruption(*numbers) as interruption, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        try:
            return runner.run(work(interruption))
        except asyncio.CancelledError:  # by Ctrl-C, before there was anything to cancel
            return INTERRUPTED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def end_now(code: int, left: list[str]) -> NoReturn:
    """Say what still runs and end the process: joining threads, as Python does at its end, could take for ever."""
    where = ", ".join(dict.fromkeys(left))
    print(f"still running when this process ended: {where}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
