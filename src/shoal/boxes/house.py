"""What all boxes of one runtime share: router, starter, clock, and what happens at a box's start and end."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.boxes import boxwire
from shoal.boxes.audit import Audit
from shoal.boxes.holding import BoxUsage, BoxWatch
from shoal.boxes.hostside import HostSide
from shoal.boxes.incarnation import Incarnation, Surroundings
from shoal.boxes.launch import BOX_PATH
from shoal.boxes.levels import import_path, launcher_for
from shoal.boxes.limitcheck import check_limits
from shoal.boxes.logs import LogLine, LogsMode, relay_to
from shoal.boxes.members import Counts
from shoal.boxes.procfs import all_stats
from shoal.boxes.results import BoxStats, ExecResult
from shoal.boxes.router import Router
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.starter import Starter
from shoal.errors import BoxStateError, LimitUnavailableError, RuntimeClosedError
from shoal.kernel.ports import Clock

if TYPE_CHECKING:
    from shoal.boxes.box import Box

__all__ = ["House", "place"]

_MIB = 1 << 20
_START_SECONDS = {"microvm": 60.0}
_PART = 64 * 1024  # a line without an end that is this long goes on
_OWN = "shoal"
_IDLE = BoxUsage(memory_bytes=0, memory_peak_bytes=0, cpu_s=0.0, pids=0)
_log = logging.getLogger(__name__)


class House:
    """The part of a ``BoxRuntime`` that its boxes see."""

    def __init__(self, clock: Clock, limits: BoxLimits, logs: LogsMode, warm: int) -> None:
        """Nothing is started."""
        self.clock = clock
        self.audit = Audit(clock)
        self.router = Router(clock, self.audit)
        mailbox = (limits.mailbox_messages, int(limits.mailbox_mib * _MIB))
        self.host = HostSide(self.router, int(limits.max_message_mb * _MIB), mailbox)
        self.python = f"{sys.version_info.major}.{sys.version_info.minor}"
        self.exit_listeners: list[Callable[[str, int, int, str], Any]] = []
        self._relay = relay_to(logs)
        self._starter = Starter(clock, warm, import_path)
        self._running: set[asyncio.Task[Any]] = set()
        self._watch = BoxWatch(clock)
        self._told: set[str] = set()
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def check_loop(self) -> None:
        """Belong to the running event loop. Raises BoxStateError when it belongs to another."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise BoxStateError(
                "This BoxRuntime belongs to another event loop",
                note="Use it in the `asyncio.run` that opened it, or make one for each.",
            )

    def check_open(self) -> None:
        """Raise RuntimeClosedError when nothing may be started any more."""
        if self.closed:
            raise RuntimeClosedError

    # -- a start

    async def start(self, box: Box, spec: BoxSpec, limits: BoxLimits) -> Incarnation:
        """Bring up a child for a box, tell it who it is, bring it its files."""
        seconds = spec.start_timeout if spec.start_timeout is not None else _START_SECONDS.get(box.isolation, 30.0)
        child = await self._starter.start(launcher_for(box.isolation), spec, limits, seconds)
        holding = child.walls.holding
        try:
            self._check_limits(box, limits, {} if holding is None else holding.held)
        except LimitUnavailableError:
            child.kill()
            raise
        number = box.incarnation
        about = Surroundings(
            name=box.name,
            level=box.isolation,
            limits=limits,
            interleave=spec.interleave,
            collects=bool(spec.collect),
            clock=self.clock,
            router=self.router,
            on_line=lambda stream, text: self.line(box, number, stream, text),
            on_end=lambda life: self._ended(box, life),
            verdict=lambda: None if holding is None else holding.verdict(),
        )
        life = Incarnation(child, about)
        try:
            self._watch.add(child.walls)
            life.assign(self._assignment(box, life, spec, limits))
            for path, content in spec.files.items():
                await life.errands.put(place(life, path), await asyncio.to_thread(_bytes, content))
        except BaseException:
            child.kill()
            raise
        return life

    def _check_limits(self, box: Box, limits: BoxLimits, held: Mapping[str, str]) -> None:
        for text in check_limits(box.isolation, limits, held):
            if text in self._told:
                continue  # once is enough
            self._told.add(text)
            fact = msgspec.Raw(msgspec.json.encode({"box": box.name, "warning": text}))
            self.router.spread(_OWN, "shoal.limit_unavailable", fact)
            _log.warning("%s", text)

    @staticmethod
    def _assignment(box: Box, life: Incarnation, spec: BoxSpec, limits: BoxLimits) -> boxwire.AssignBox:
        home, holding = life.child.walls.home, life.child.walls.holding
        counted = {"nproc": limits.pids} if holding is not None and holding.held["pids"] == "rlimit" else {}
        writable = tuple(mount.target for mount in spec.mounts if mount.writable)
        return boxwire.AssignBox(
            name=box.name,
            path=import_path(box.isolation, spec),
            env={"PATH": BOX_PATH, "HOME": home, "LANG": "C.UTF-8", **spec.env},
            cwd=place(life, spec.cwd),
            rlimits={"nofile": limits.open_files, "core": 0, **counted},
            max_message=int(limits.max_message_mb * _MIB),
            in_flight=limits.in_flight,
            interleave=spec.interleave,
            write=(home,) if box.isolation == "process" else ("/work", "/tmp", *writable),
            collect=tuple(place(life, pattern) for pattern in spec.collect),
        )

    # -- what it prints and how it ends

    def line(self, box: Box, incarnation: int, stream: str, text: str) -> None:
        """Keep a line of a box, and pass on what it printed."""
        logs = box.kept
        whole = text.endswith("\n")
        line = LogLine(
            box=box.name,
            incarnation=incarnation,
            seq=logs.next_number(),
            at=self.clock.now(),
            stream=stream,
            text=text[:-1] if whole else text,
            partial=not whole and len(text) >= _PART and stream in ("stdout", "stderr"),
        )
        logs.add(line)
        if stream != "exec":
            try:
                self._relay(line)
            except Exception:  # noqa: BLE001 - a box must not suffer from whoever reads what it prints
                _log.exception("a line of box %r could not be passed on", box.name)

    def _ended(self, box: Box, life: Incarnation) -> None:
        code = life.ended.result()
        self._watch.discard(life.child.walls)
        box._ended(life)
        self.audit.note("death", box.name, outcome=life.reason)
        fact = {"box": box.name, "exit_code": code, "reason": life.reason}
        self.router.spread(_OWN, "shoal.box_exited", msgspec.Raw(msgspec.json.encode(fact)))
        for listener in list(self.exit_listeners):
            self._spawn(self._tell(listener, (box.name, box.incarnation, code, life.reason)))

    async def _tell(self, listener: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            told = listener(*args)
            if inspect.isawaitable(told):
                await told
        except Exception:  # noqa: BLE001 - whatever a listener raises is its own affair
            _log.exception("a listener of exits raised")

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        running = asyncio.get_running_loop().create_task(work)
        self._running.add(running)
        running.add_done_callback(self._running.discard)

    # -- what its boxes ask of it

    async def request(self, target: str, data: Any, timeout: float | None = 30.0) -> Any:
        """Ask a box as the host."""
        return await self.host.request(target, data, timeout)

    async def command(
        self, box: Box, command: Sequence[str], work: Coroutine[Any, Any, ExecResult], timeout: float | None
    ) -> ExecResult:
        """Wait for a command, at most *timeout* seconds, and put it on record."""
        outcome, began = "ok", self.clock.monotonic()
        try:
            if timeout is None:
                result = await work
            else:
                async with self.clock.timeout(timeout):
                    result = await work
        except TimeoutError:
            outcome = "TimeoutError"
            raise TimeoutError(f"{command[0]!r:.200} in box {box.name!r} did not end within {timeout:g} s") from None
        except BaseException as error:
            outcome = type(error).__name__
            raise
        finally:
            duration = round((self.clock.monotonic() - began) * 1000, 3)
            self.audit.note(
                "exec", "host", target=box.name, name=command[0][:200], duration_ms=duration, outcome=outcome
            )
        for text in (result.stdout, result.stderr):
            for line in text.splitlines(keepends=True):
                self.line(box, box.incarnation, "exec", line)
        return result

    def stats(self, box: Box, life: Incarnation | None) -> BoxStats:
        """Return what a box does and has taken."""
        member = None if life is None else life.member
        walls = None if life is None else life.child.walls
        holding = None if walls is None else walls.holding
        used = _IDLE if walls is None or holding is None else holding.usage(walls.members(all_stats()))
        return BoxStats(
            state=box.state,
            isolation=box.isolation,
            pid=None if life is None else life.child.pid,
            incarnation=box.incarnation,
            uptime_s=0.0 if life is None else round(self.clock.monotonic() - life.began, 3),
            **msgspec.structs.asdict(used),
            **msgspec.structs.asdict(Counts() if member is None else member.counts),
            mailbox=0 if member is None else len(member.mailbox),
            in_flight=0 if member is None else len(member.waits),
            last_seen=None if life is None else life.heartbeat.last_seen,
            rtt_ms=None if life is None else life.heartbeat.rtt_ms,
            limits={} if holding is None else dict(holding.held),
        )

    async def close(self) -> None:
        """End what runs beside the boxes, and wait until nothing of them is left on the machine."""
        await self.host.close()
        self._watch.close()
        await self._starter.close()
        if self._running:
            await asyncio.wait(list(self._running))


def place(life: Incarnation, path: str) -> str:
    """Return where *path* of a box lies for the code in it: at level process ``/work`` is a directory of the host."""
    home = life.child.walls.home
    if path == "/work" or path.startswith("/work/"):
        return home + path[len("/work") :]
    return path if path.startswith("/") else f"{home}/{path}"


def _bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, str):
        return content.encode()
    return content if isinstance(content, bytes) else content.read_bytes()
