"""What this machine can really run: each level is tried with a launch of its own."""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.boxes.child import ChildProcess
from shoal.boxes.launch import Launcher, LaunchOrder
from shoal.boxes.levels import LEVELS, check_level, launcher_for
from shoal.boxes.spec import BoxSpec
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.errors import BoxStartError, IsolationUnavailableError, ShoalError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock

__all__ = ["ProbeResult", "probe", "strongest"]

_SECONDS = {"microvm": 60.0}
_MOST_SECONDS = 10.0
_VERSION_SECONDS = 5.0
_MAX_FRAME = 1 << 16
_VERSIONS = {
    "bubblewrap": ("bwrap", "--version"),
    "gvisor": ("runsc", "--version"),
    "microvm": ("qemu-system-x86_64", "--version"),
}
_FILTERED = 2  # mode of a process whose calls go through a filter
_known: dict[str, ProbeResult] = {}


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a level works on this machine.

    ``reason`` says why not, ``version`` is that of the program which puts the walls up, ``detail`` tells what the guest
    found, ``took_ms`` is from the launch to its hello.
    """

    level: str
    works: bool
    reason: str = ""
    version: str = ""
    detail: str = ""
    took_ms: float = 0.0


async def probe(level: str | None = None, fresh: bool = False, *, clock: Clock | None = None) -> dict[str, ProbeResult]:
    """Try a level, or all of them, by launching a guest in it; at most 10 s each (microvm 60 s).

    Results are kept for the life of this process; *fresh* tries again. Raises ValueError for a level that there is not.
    """
    wanted = LEVELS if level is None else (check_level(level, auto=False),)
    for name in wanted:
        if fresh or name not in _known:
            _known[name] = await _probe(name, clock or RealClock())
    return {name: _known[name] for name in wanted}


async def strongest() -> str:
    """Return the level that ``auto`` stands for: the first that works of microvm (only with KVM), gvisor, bubblewrap.

    Raises IsolationUnavailableError with the reason of each.
    """
    reasons = []
    for name in ("microvm", "gvisor", "bubblewrap"):
        reason = await asyncio.to_thread(_why_not_auto, name) or (await probe(name))[name].reason
        if not reason:
            return name
        reasons.append(f"{name}: {reason}")
    raise IsolationUnavailableError(
        f"isolation 'auto' finds no level that works here: {'; '.join(reasons)}",
        note="Level 'process' protects nobody from hostile code, so it must be asked for by name: isolation='process'.",
    )


def _why_not_auto(name: str) -> str | None:
    """Return why ``auto`` passes a level by, although it may work when it is asked for by name."""
    if name != "microvm":
        return None
    from shoal.boxes.microvm import kvm_fault

    try:
        return kvm_fault()
    except IsolationUnavailableError as error:
        return str(error)


async def _probe(level: str, clock: Clock) -> ProbeResult:
    began = clock.monotonic()
    version = detail = reason = ""
    try:
        async with clock.timeout(_SECONDS.get(level, _MOST_SECONDS)):
            version = await asyncio.to_thread(_version, level)
            launcher = launcher_for(level)
            await launcher.prepare(BoxSpec())
            began = clock.monotonic()
            hello = await _greeting(launcher, clock)
        detail = f"uid {hello.uid}, capabilities {hello.capabilities or 'unknown'}, seccomp mode {hello.seccomp}"
        reason = "; ".join(_gaps(level, hello))
    except TimeoutError:
        reason = f"no hello within {_SECONDS.get(level, _MOST_SECONDS):g} s"
    except (ShoalError, OSError, subprocess.SubprocessError) as error:
        reason = str(error)
    took = round((clock.monotonic() - began) * 1000, 1)
    return ProbeResult(
        level=level,
        works=not reason,
        reason=reason,
        version=version,
        detail=detail,
        took_ms=took if not reason else 0.0,
    )


def _gaps(level: str, hello: wire.Hello) -> Iterator[str]:
    """Yield what is not as the level promises."""
    if level == "process":
        return
    if hello.uid == 0:
        yield "the guest is root"
    if int(hello.capabilities or "0", 16):
        yield f"the guest has capabilities ({hello.capabilities})"
    if level == "bubblewrap" and hello.seccomp != _FILTERED:
        yield f"the guest's system calls are not filtered (seccomp mode {hello.seccomp})"


async def _greeting(launcher: Launcher, clock: Clock) -> wire.Hello:
    """Start a guest, hear its hello and take everything down. Raises BoxStartError."""
    box_id = new_box_id()
    walls = launcher.build(LaunchOrder(box_id=box_id, directory=state_directory(box_id)))
    try:
        child = ChildProcess(walls, launcher.level, _MAX_FRAME, clock)
        try:
            ends: list[asyncio.Future[Any]] = [child.greeted, child.reaped]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if child.hello is not None:
                return child.hello
            why = child.violation or f"it ended with exit code {child.reaped.result()} before hello"
            last = child.stderr.tail.strip()
            raise BoxStartError(f"{why}: {last}" if last else why, level=launcher.level, phase="probe")
        finally:
            child.kill()
            await asyncio.shield(child.reaped)
    finally:
        await walls.remove()
        forget_directory(box_id)


def _version(level: str) -> str:
    if level == "process":
        return platform.python_version()
    program, *words = _VERSIONS[level]
    path = shutil.which(program)
    if path is None:
        return ""
    said = subprocess.run([path, *words], capture_output=True, text=True, check=False, timeout=_VERSION_SECONDS).stdout
    return said.partition("\n")[0].strip()
