"""Level ``gvisor``: a kernel of its own, in user space, by ``runsc``. For code you do not trust."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from shoal.boxes.bundle import write_bundle
from shoal.boxes.holding import Holding
from shoal.boxes.launch import Launch, LaunchOrder, Walls
from shoal.boxes.procfs import ProcessStat, all_stats, descendants
from shoal.boxes.roots import Roots
from shoal.boxes.spec import BoxSpec
from shoal.boxes.tree import tree_of
from shoal.errors import BoxStartError, IsolationUnavailableError

__all__ = ["PLATFORMS", "GvisorLauncher"]

PLATFORMS = ("systrap", "ptrace")
"""How runsc catches system calls, the fastest first. With KVM it hangs on machines that only seem to have it."""
_LEAST_PIDS = 256
_OWN_THREADS = 192  # of its own kernel, which count, too; when they run out it dies without a word
_HELD = {"tmp_mib": "tmpfs", "pids": "sampling"}
_TRIAL_SECONDS = 5.0


class GvisorLauncher:
    """Starts boxes on a kernel in user space, which itself reaches the host's kernel by a few calls only."""

    level = "gvisor"

    def __init__(self, platform: str | None = None) -> None:
        """*platform*: systrap or ptrace; None: the first that this runsc knows and this machine can run."""
        self.platform = platform
        self._root = os.geteuid() == 0
        self._roots = Roots()

    async def prepare(self, spec: BoxSpec) -> None:
        """Look for what this level needs, and whether it can do what *spec* asks for.

        Raises BoxSpecError, IsolationUnavailableError.
        """
        missing = list(self._missing())
        if missing:
            raise IsolationUnavailableError("; ".join(missing))
        if self.platform is None:
            self.platform = await asyncio.to_thread(_first_platform, self._root)
        tree_of(spec, await self._roots.prepare(spec))

    def _missing(self) -> Iterator[str]:
        if shutil.which("runsc") is None:
            yield "runsc is not installed (Debian package runsc)"
        for program in ("setpriv", *(() if self._root else ("unshare",))):
            if shutil.which(program) is None:
                yield f"{program} is not installed (Debian package util-linux)"

    def build(self, order: LaunchOrder) -> Walls:
        """Return the walls of one box. Raises BoxStartError."""
        tree = tree_of(order.spec, self._roots.known(order.spec))
        state = order.directory / "runsc"
        try:
            state.mkdir(parents=True, mode=0o700)
            write_bundle(order, tree)
        except OSError as error:
            shutil.rmtree(order.directory, ignore_errors=True)
            raise BoxStartError(f"no bundle: {error}", level=self.level, phase="launch") from error
        runsc = _runsc(self._root, str(state), self.platform or PLATFORMS[-1], network=order.spec.network)
        command = (*runsc, "run", "--bundle", str(order.directory), order.box_id)
        limits = msgspec.structs.replace(order.limits, pids=max(order.limits.pids, _LEAST_PIDS))
        holding = Holding(order.box_id, limits, extra_pids=_OWN_THREADS, others=_HELD)
        launch = Launch(command=holding.joined(command), env=_env())
        return _GvisorWalls(launch, order, holding, _runsc(self._root, str(state)))


class _GvisorWalls(Walls):
    """The started command is runsc; below it are the sandbox, a kernel for the box, and a server for its files.

    What runs in the box is seen by that kernel only, so runsc is asked to signal and to pause it. Such an errand takes some
    20 ms; errands are run one after the other.
    """

    def __init__(self, launch: Launch, order: LaunchOrder, holding: Holding, runsc: tuple[str, ...]) -> None:
        super().__init__(launch, holding=holding)
        self._order = order
        self._runsc = runsc
        self._errands: asyncio.Task[None] | None = None

    def members(self, stats: Iterable[ProcessStat]) -> list[ProcessStat]:
        """Pick what runs for the box, its kernel included."""
        return [] if self.pid is None else descendants(self.pid, stats)

    def signal(self, number: int) -> None:
        """Send a signal to every process in the box, soon."""
        self._run_errand("kill", "--all", self._order.box_id, str(number))

    def freeze(self) -> None:
        """Let its kernel stand still."""
        if self.holding is None or not self.holding.group.freeze(True):
            self._run_errand("pause", self._order.box_id)

    def thaw(self) -> None:
        """Let it go on."""
        if self.holding is None or not self.holding.group.freeze(False):
            self._run_errand("resume", self._order.box_id)

    def kill(self) -> None:
        """End its kernel, and with it everything in the box; then runsc ends by itself."""
        below = self.members(all_stats())
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if not below and self.pid is not None:
                os.killpg(self.pid, signal.SIGKILL)
        for stat in reversed(below):  # the server of its files last: no code in the box shall see them go
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(stat.pid, signal.SIGKILL)
        if self.holding is not None:
            self.holding.group.freeze(False)  # version 1: a frozen process does not even die

    def _run_errand(self, *words: str) -> None:
        self._errands = asyncio.get_running_loop().create_task(self._errand(self._errands, words))

    async def _errand(self, before: asyncio.Task[None] | None, words: tuple[str, ...]) -> None:
        if before is not None:
            await asyncio.wait([before])
        process = await asyncio.create_subprocess_exec(
            *self._runsc,
            *words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_env(),
        )
        await process.wait()

    async def remove(self) -> None:
        """Wait for the last errand and remove its groups. Its state lies in its directory."""
        if self._errands is not None:
            await asyncio.wait([self._errands])
        await super().remove()


def _runsc(root: bool, state: str, platform: str | None = None, *, network: bool = False) -> tuple[str, ...]:
    """Return runsc with its options; with a platform it also dies with who started it."""
    front: tuple[str, ...] = () if root else ("unshare", "--user", "--map-root-user")
    options: tuple[str, ...] = ("--root", state, "--ignore-cgroups", *(() if root else ("--rootless",)))
    if platform is not None:
        front = (*front, "setpriv", "--pdeathsig", "KILL")
        options = (*options, f"--platform={platform}", f"--network={'host' if network else 'none'}")
    return (*front, "runsc", *options)


def _env() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath)}


@functools.cache
def _first_platform(root: bool) -> str:
    """Return the first platform that runsc knows and that runs a program here; the last is not tried before a box is.

    Raises IsolationUnavailableError.
    """
    try:
        listed = subprocess.run(["runsc", "flags"], capture_output=True, text=True, check=False, timeout=_TRIAL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise IsolationUnavailableError(f"runsc does not run: {error}") from error
    _, _, text = (listed.stdout + listed.stderr).partition("-platform string")
    known = [name for name in PLATFORMS if name in text[:300]] or [PLATFORMS[-1]]
    return next((name for name in known[:-1] if _runs(root, name)), known[-1])


def _runs(root: bool, platform: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="shoal-") as name:
        directory = Path(name)
        order = LaunchOrder(box_id="trial", directory=directory)
        (directory / "runsc").mkdir()
        write_bundle(order, tree_of(order.spec), ("-c", "pass"))
        command = _runsc(root, str(directory / "runsc"), platform)
        process = subprocess.Popen(
            [*command, "run", "--bundle", name, "trial"],
            env=_env(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(_TRIAL_SECONDS) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
