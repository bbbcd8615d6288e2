"""``BoxRuntime``: starts, feeds, watches and stops boxes, and carries every message between them."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

from shoal.boxes.asked import check_event_name, check_handler, check_seconds
from shoal.boxes.audit import Audit
from shoal.boxes.box import Box
from shoal.boxes.house import House
from shoal.boxes.levels import check_level, resolve_level
from shoal.boxes.logs import LogsMode
from shoal.boxes.merging import check_options, merged_limits, merged_spec
from shoal.boxes.policy import BoxPolicy, check_policy
from shoal.boxes.spec import BoxLimits, BoxSpec
from shoal.boxes.speccheck import check_spec
from shoal.boxes.state import sweep_state
from shoal.errors import BoxExistsError, BoxNotFoundError, BoxSpecError, BoxWaitTimeoutError, RuntimeClosedError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock

__all__ = ["BoxRuntime"]

F = TypeVar("F", bound=Callable[..., Any])
_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_RESERVED = "host"


class BoxRuntime:
    """Boxes that talk to each other. It belongs to one event loop.

    ``async with`` opens it and shuts it down; without it the first ``create_box`` opens it.
    """

    def __init__(
        self,
        isolation: str = "auto",
        limits: BoxLimits | None = None,
        *,
        spec: BoxSpec | None = None,
        policy: BoxPolicy | None = None,
        logs: LogsMode = "relay",
        warm: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Check everything; nothing is started.

        Args:
            isolation: process, bubblewrap, gvisor, microvm, or auto: the strongest that really runs here, never process.
                The variable SHOAL_ISOLATION replaces auto.
            limits: what each box may take unless its spec says otherwise.
            spec: defaults for all boxes.
            policy: who may talk to whom; None: everybody to everybody.
            logs: what happens with what boxes print: ``relay`` (to the host's stdout and stderr), ``prefix`` (``[name] ``
                before each line), ``none`` (only kept), or a function that gets each ``LogLine``.
            warm: how many spare guests to keep for each kind of box in use.
            clock: time; default: the real one.

        Raises:
            ValueError: an unknown level, or one that belongs to AgentRuntime.
            BoxSpecError: a limit, the spec or the policy is not possible; every fault at once.
        """
        if isolation == "auto":
            isolation = os.environ.get("SHOAL_ISOLATION", "auto")
        self._isolation = check_level(isolation)
        self._spec = check_spec(spec if spec is not None else BoxSpec())
        self._limits = limits if limits is not None else BoxLimits()
        check_spec(BoxSpec(limits=self._limits))
        check_options(logs, warm)
        self._policy = check_policy(policy)
        self._logs: LogsMode = logs
        self._warm = warm
        self._clock: Clock = clock or RealClock()
        self._boxes: dict[str, Box] = {}
        self._opened: House | None = None
        self._closing: asyncio.Task[None] | None = None

    # -- open and shut

    async def __aenter__(self) -> Self:
        """Open it."""
        self._running_house()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Shut it down."""
        await self.shutdown()

    def _house(self) -> House:
        if self._closing is not None:
            raise RuntimeClosedError
        if self._opened is None:
            sweep_state()
            self._opened = House(self._clock, self._limits, self._logs, self._warm)
            self._opened.router.policy = self._policy
        return self._opened

    def _running_house(self) -> House:
        house = self._house()
        house.check_loop()
        return house

    async def shutdown(self, grace: float | None = None) -> None:
        """Stop all boxes, at once and within *grace* + 2 s, and leave nothing behind. Twice does nothing."""
        if self._opened is not None:
            self._opened.check_loop()
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._shut_down(grace))
        await asyncio.shield(self._closing)

    async def _shut_down(self, grace: float | None) -> None:
        if self._opened is not None:
            self._opened.closed = True
        await self._stop_all(grace)
        if self._opened is not None:
            await self._opened.close()
        for box in self._boxes.values():
            box.kept.close()

    # -- boxes

    async def create_box(
        self,
        name: str,
        spec: BoxSpec | None = None,
        *,
        isolation: str | None = None,
        memory_mib: float | None = None,
        cpus: float | None = None,
        env: Mapping[str, str] | None = None,
        auto_start: bool = True,
    ) -> Box:
        """Make a box, and bring up its guest unless *auto_start* is False. Direct arguments win over *spec*.

        Args:
            name: 1 to 100 of letters, digits, ``.``, ``_``, ``-``; not ``host``.
            spec: what it is; what it leaves out comes from the runtime's spec.
            isolation: its level.
            memory_mib: its memory limit in MiB.
            cpus: its limit in cores.
            env: its environment, beside its spec's.
            auto_start: whether to bring it up now.

        Raises:
            BoxExistsError, BoxSpecError, IsolationUnavailableError, LimitUnavailableError, BoxStartError.
        """
        house = self._running_house()
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _RESERVED:
            raise BoxSpecError(
                f"a box's name is 1 to 100 of letters, digits, '.', '_', '-', and not 'host'; this is {name!r:.120}"
            )
        if name in self._boxes:
            raise BoxExistsError(name)
        whole = merged_spec(self._spec, spec, isolation, env)
        limits = merged_limits(whole.limits or self._limits, memory_mib, cpus)
        level = check_level(whole.isolation or self._isolation)
        box = self._boxes[name] = Box(name, level, whole, limits, house)
        house.router.reserve(name)
        try:
            box.isolation = await resolve_level(level)
            if auto_start:
                await box.start()
        except BaseException:
            box._abandon()
            self._forget(box)
            raise
        return box

    def _forget(self, box: Box) -> None:
        if self._opened is not None and self._boxes.get(box.name) is box:
            del self._boxes[box.name]
            self._opened.router.forget(box.name)

    def list_boxes(self) -> list[str]:
        """Return the names of all boxes, in order of creation."""
        return list(self._boxes)

    @property
    def boxes(self) -> Mapping[str, Box]:
        """All boxes by name; read-only."""
        return MappingProxyType(self._boxes)

    async def remove_box(self, name: str) -> None:
        """Stop a box and free its name. Raises BoxNotFoundError."""
        box = self._boxes.get(name)
        if box is None:
            raise BoxNotFoundError(name, self._boxes)
        box.removed = True
        try:
            await box.stop()
        except BaseException:
            box.removed = False
            raise
        box.kept.close()
        self._forget(box)

    async def wait_all(self, timeout: float | None = None) -> list[int]:
        """Return the exit codes of all boxes that were ever run, in order of creation.

        Raises:
            BoxWaitTimeoutError: some run on after *timeout* seconds (0 only looks); ``codes`` tells of all of them.
        """
        check_seconds(timeout, "timeout")
        ran = [box for box in self._boxes.values() if box.ran]
        waits = [asyncio.create_task(box.wait()) for box in ran]
        try:
            if waits:
                await self._all_within(waits, timeout)
        finally:
            for wait in waits:
                wait.cancel()
        codes = {
            box.name: wait.result() if wait.done() and not wait.cancelled() else None
            for box, wait in zip(ran, waits, strict=True)
        }
        late = [name for name, code in codes.items() if code is None]
        if late:
            raise BoxWaitTimeoutError(f"{', '.join(late)} did not end within {timeout:g} s", codes)
        return [code for code in codes.values() if code is not None]

    async def _all_within(self, waits: list[asyncio.Task[int]], timeout: float | None) -> None:
        if timeout is None:
            await asyncio.wait(waits)
            return
        try:
            async with self._clock.timeout(max(timeout, 0.001)):
                await asyncio.wait(waits)
        except TimeoutError:
            return

    async def stop_all(self, grace: float | None = None) -> None:
        """Stop all boxes at once, within *grace* + 2 s (default: each its own)."""
        self._running_house()
        await self._stop_all(grace)

    async def _stop_all(self, grace: float | None) -> None:
        check_seconds(grace, "grace")
        boxes = list(self._boxes.values())
        ends = await asyncio.gather(*(box.stop(grace) for box in boxes), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    # -- the host takes part

    async def request(self, target: str, data: Any, timeout: float | None = 30.0) -> Any:
        """Ask a box as ``host`` and return its answer. Raises what ``send_message`` in a box would."""
        return await self._running_house().request(target, data, timeout)

    async def send(self, target: str, data: Any) -> None:
        """Put a message into a box's mailbox; no answer. Raises what keeps it from that."""
        await self._running_house().host.send(target, data)

    async def publish(self, event: str, data: Any = None) -> int:
        """Publish an event; returns how many subscribers took it."""
        return self._running_house().host.publish(event, data)

    def on_message(self, function: F) -> F:
        """Register a handler ``(sender, data) -> answer`` of the host, sync or async."""
        self._house().host.on_message(function)
        return function

    def on_event(self, name: str) -> Callable[[F], F]:
        """Register a handler ``(data)`` of the host for the event *name* (``prefix*``: all that begin so)."""
        check_event_name(name)

        def register(function: F) -> F:
            self._house().host.on_event(name, function)
            return function

        return register

    def on_exit(self, function: F) -> F:
        """Register what is called with ``(name, incarnation, exit_code, reason)`` at every box's end."""
        check_handler(function, "a listener")
        self._house().exit_listeners.append(function)
        return function

    @property
    def policy(self) -> BoxPolicy | None:
        """Who may talk to whom; may be replaced at any time."""
        return self._policy

    @policy.setter
    def policy(self, policy: BoxPolicy | None) -> None:
        self._policy = check_policy(policy)
        if self._opened is not None:
            self._opened.router.policy = self._policy

    @property
    def audit(self) -> Audit:
        """What was said to whom, without what was said."""
        return self._house().audit
