"""What works on this machine and what does not: findings, each tried or measured, for ``shoal doctor``."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import resource
import tempfile
from pathlib import Path

import msgspec

import shoal
from shoal.boxes.cgroups import find_homes
from shoal.bus import open_bus
from shoal.bus.trial import try_bus
from shoal.config import Config, bus_url, load_config, on_server, shown, store_file
from shoal.errors import ConfigError, ShoalError
from shoal.kernel.agent import Isolation
from shoal.kernel.clock import RealClock
from shoal.kernel.load import MachineProbe
from shoal.kernel.task import Task
from shoal.runtime import AgentRuntime
from shoal.store import open_store
from shoal.store.sqlite.connection import connect
from shoal.store.sqlite.place import filesystem_type

__all__ = ["Finding", "examine"]

_LEVELS = (Isolation.INLINE, Isolation.THREAD, Isolation.PROCESS)
_WAL_RACE = ((3, 7, 0), (3, 51, 2))
_FSYNCS = 20
_SLOW_FSYNC_MS = 20.0
_FEW_FILES = 4096
_TRIAL_SECONDS = 30.0
_IN_MEMORY = ("tmpfs", "ramfs")
_PARTS = (
    ("event loop", ("uvloop",), "faster event loop for `shoal run`"),
    ("monitoring", ("prometheus-client",), "Prometheus text of a runtime's numbers"),
)
"""Optional parts: their name here, the packages that they need, and what they give."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``state``: ok, note (works, with a drawback), problem, absent (optional)."""

    name: str
    state: str
    text: str
    advice: str = ""


async def examine(url: str) -> list[Finding]:
    """Return what was found, in the order in which people read it. Writes nothing to the store; leaves no file."""
    file = store_file(url)
    findings = [_python(), Finding(name="shoal", state="ok", text=shoal.__version__), _sqlite()]
    findings += [_configuration(), _no_store(url, file) or await _store(url), await _bus(url)]
    if file is not None and file.absolute().parent.is_dir():
        findings += [_file_system(file.absolute()), _fsync(file.absolute().parent)]
    findings += [_cgroup(name) for name in ("memory", "cpu")]
    findings += [await _isolation(level) for level in _LEVELS]
    findings += [_walls(), _open_files(), _machine()]
    return findings + [_part(name, packages, gives) for name, packages, gives in _PARTS]


def _python() -> Finding:
    return Finding(
        name="python",
        state="ok",
        text=f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} "
        f"{platform.release()} {platform.machine()}",
    )


def _sqlite() -> Finding:
    connection = connect(Path(":memory:"), create=True)
    try:
        version = str(next(iter(connection.execute("SELECT sqlite_version()")))[0])
    finally:
        connection.close()
    text = f"{version}, inside apsw {importlib.metadata.version('apsw')}"
    if _WAL_RACE[0] <= tuple(int(word) for word in version.split(".")[:3]) <= _WAL_RACE[1]:
        advice = "pip install --upgrade apsw"
        return Finding(
            name="sqlite", state="problem", text=f"{text}: its log can be reset under a writer", advice=advice
        )
    return Finding(name="sqlite", state="ok", text=text)


def _configuration() -> Finding:
    """Check what every runtime started here would read, beside what its program says."""
    try:
        load_config()
    except ConfigError as error:
        advice = "No runtime starts before that is mended."
        return Finding(name="configuration", state="problem", text="; ".join(error.faults), advice=advice)
    sources = ["shoal.toml"] if Path("shoal.toml").exists() else []
    sources += sorted(name for name in os.environ if name.startswith("SHOAL_"))
    return Finding(name="configuration", state="ok", text=", ".join(sources) or "the defaults")


def _no_store(url: str, file: Path | None) -> Finding | None:
    if on_server(url):
        return None
    if file is None:
        return Finding(name="store", state="note", text=f"{shown(url)}: it ends with its process")
    if file.exists():
        return None
    return Finding(
        name="store",
        state="note" if file.absolute().parent.is_dir() else "problem",
        text=f"there is none at {file.absolute()}",
        advice="A runtime creates it when it starts, in a folder that exists.",
    )


async def _store(url: str) -> Finding:
    try:
        store = open_store(url, read_only=True)
        await store.open()
        try:
            info = store.info()
        finally:
            await store.close()
    except ShoalError as error:
        return Finding(name="store", state="problem", text=str(error), advice=" ".join(_notes(error)))
    size = info["size_bytes"]
    assert isinstance(size, int)
    text = f"{store.url}, schema {info['schema_version']}, {size / 2**20:.1f} MB"
    return Finding(name="store", state="ok", text=text)


async def _bus(store: str) -> Finding:
    """Try the bus that a runtime started here on this store has, when its program names no other."""
    url = bus_url(None, store)
    try:
        open_bus(url, clock=RealClock())
        found = await try_bus(url, RealClock())
    except ShoalError as error:
        return Finding(name="bus", state="problem", text=str(error), advice=" ".join(_notes(error)))
    if found is not None:
        text = f"{found.where}: back in {found.round_trip * 1000:.1f} ms, at most {found.payload_bytes:,} bytes at once"
        return Finding(name="bus", state="ok", text=text)
    if on_server(store):
        advice = "Let SHOAL_BUS be nats://HOST, or nothing: then the server of the store carries it."
        return Finding(name="bus", state="note", text=f"{url}: it reaches no other node of this store", advice=advice)
    return Finding(name="bus", state="ok", text=f"{url}: no server; the nodes on one file of this machine")


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _file_system(file: Path) -> Finding:
    mounts = Path("/proc/self/mountinfo")
    kind = filesystem_type(file, mounts.read_text(errors="replace")) if mounts.exists() else ""
    if kind in _IN_MEMORY:
        advice = "Put the store on a disk if it must outlive the machine's power."
        return Finding(name="file system", state="note", text=f"{kind}: kept in memory", advice=advice)
    return Finding(name="file system", state="ok" if kind else "note", text=kind or "not known: there is no /proc")


def _fsync(folder: Path) -> Finding:
    """Time a small write with fsync: what each group of commits waits for with ``durability=full``."""
    clock = RealClock()
    times = []
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            for _ in range(_FSYNCS):
                before = clock.monotonic()
                file.write(bytes(4096))
                os.fsync(file.fileno())
                times.append((clock.monotonic() - before) * 1000)
    except OSError as error:
        return Finding(name="fsync", state="problem", text=f"nothing can be written in {folder}: {error.strerror}")
    median, worst = sorted(times)[_FSYNCS // 2], max(times)
    text = f"median {median:.2f} ms, worst of {_FSYNCS} {worst:.2f} ms"
    if median > _SLOW_FSYNC_MS:
        return Finding(name="fsync", state="note", text=text, advice="A slow disk: durability=normal waits for less.")
    if median < 0.02:
        return Finding(
            name="fsync", state="note", text=text, advice="Too fast for a disk: it may not survive a power cut."
        )
    return Finding(name="fsync", state="ok", text=text)


def _cgroup(controller: str) -> Finding:
    home = find_homes(controllers=(controller,)).get(controller)
    if home is not None:
        text = f"version {home.version}, {home.path} is writable: the kernel holds the limit"
        return Finding(name=f"cgroup {controller}", state="ok", text=text)
    held = "memory is looked at every second" if controller == "memory" else "processes are stopped and continued"
    text = f"no group of ours to write: {held} instead"
    advice = "Run in a delegated control group (systemd: Delegate=yes) to have limits held by the kernel."
    return Finding(name=f"cgroup {controller}", state="note", text=text, advice=advice)


async def _trial(task: Task) -> dict[str, int]:
    return {"pid": os.getpid()}


async def _isolation(level: Isolation) -> Finding:
    """Run one task in an agent of this level, on a store in memory."""
    clock = RealClock()
    name = f"isolation {level}"
    try:
        async with AgentRuntime(store="sqlite://:memory:", bus="local://", config=Config(warm_processes=0)) as runtime:
            await runtime.register_agent("trial", _trial, isolation=level.value)
            before = clock.monotonic()
            await runtime.start_agent("trial")
            task_id = await runtime.submit_task("trial", timeout_seconds=_TRIAL_SECONDS)
            task = await runtime.wait_for_task(task_id, timeout_seconds=_TRIAL_SECONDS)
            took = (clock.monotonic() - before) * 1000
            task.result()
    except (ShoalError, OSError) as error:
        return Finding(
            name=name, state="problem", text=f"{type(error).__name__}: {error}", advice=" ".join(_notes(error))
        )
    return Finding(name=name, state="ok", text=f"works: started an agent and ran a task in {took:.0f} ms")


def _walls() -> Finding:
    """Point to the probe of the levels with walls: to try them all takes half a minute."""
    text = "bubblewrap, gvisor and microvm were not tried here"
    return Finding(name="isolation walls", state="note", text=text, advice="shoal boxes probe")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} at most (hard limit {hard})"
    if soft < _FEW_FILES:
        advice = f"Each process agent takes a few: ulimit -n {min(65536, hard) if hard > 0 else 65536}"
        return Finding(name="open files", state="note", text=text, advice=advice)
    return Finding(name="open files", state="ok", text=text)


def _machine() -> Finding:
    used, total = MachineProbe().memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding(name="machine", state="ok", text=f"{cores} cores, {used:.0f} of {total:.0f} MB of memory in use")


def _part(name: str, packages: tuple[str, ...], gives: str) -> Finding:
    versions: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    if missing := [package for package in packages if package not in versions]:
        return Finding(name=name, state="absent", text=f"no {gives}", advice=f"pip install {' '.join(missing)}")
    have = ", ".join(f"{package} {version}" for package, version in versions.items())
    return Finding(name=name, state="ok", text=f"{gives}: {have}")
