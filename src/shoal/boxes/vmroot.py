"""What lies on the disks of virtual machines that come from the host: its interpreter, and the library itself.

The root directory is made of the interpreter, its standard library, the shared libraries they need, and busybox: no
distribution is installed, and the Python in the machine is always the host's own.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec

from shoal.boxes.vmcache import digest_of, digest_of_tree
from shoal.errors import BoxSpecError, IsolationUnavailableError

__all__ = ["POINTS", "Interpreter", "ask_interpreter", "library_digest", "stage_library", "stage_root"]

POINTS = ("/dev", "/proc", "/shoal", "/sys", "/tmp", "/work")
"""The directories that every root directory of a machine must have: something is mounted there."""

_ASK = (
    "import json, os, sys; "
    "base = getattr(sys, '_base_executable', sys.executable); "
    "print(json.dumps({'executable': os.path.realpath(base), 'version': sys.version, "
    "'path': [p for p in sys.path if os.path.exists(p)]}))"
)
_LEFT_OUT = (
    *("__pycache__", "config-*", "dist-packages", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests"),
    *("tkinter", "turtledemo", "_tkinter*", "*.a"),
)
_LIBRARY = re.compile(r"(/\S+) \(0x")
_OFTEN_NEEDED = ("libdl.so.2", "libgcc_s.so.1", "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libutil.so.1")
_MERGED = ("bin", "lib", "lib64", "sbin")
_NOT_LINKED = {"busybox", "init", "linuxrc"}
_FILES = {
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\nbox:x:1000:1000:box:/work:/bin/sh\n",
    "etc/group": "root:x:0:\nbox:x:1000:\n",
    "etc/hosts": "127.0.0.1 localhost\n",
}
_PACKAGES = ("cloudpickle", "msgspec", "shoal")


class Interpreter(msgspec.Struct, frozen=True):
    """A Python of the host: its executable (not that of a virtual environment) and where it imports from."""

    executable: str
    version: str
    path: tuple[str, ...]

    def digest(self) -> str:
        """Return what changes when it is replaced by another or updated."""
        found = [f"{path} {os.stat(path).st_mtime_ns}" for path in (self.executable, *self.path)]
        return digest_of(self.version, *found)


@functools.cache
def ask_interpreter(python: str | None) -> Interpreter:
    """Return what an interpreter (default: the one that runs this) says of itself. Raises BoxSpecError."""
    command = [python or sys.executable, "-I", "-S", "-c", _ASK]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        return msgspec.json.decode(done.stdout, type=Interpreter)
    except (OSError, subprocess.CalledProcessError, msgspec.MsgspecError) as error:
        raise BoxSpecError(f"python={python!r} cannot be asked for its version: {error}") from error


def stage_root(stage: Path, python: Interpreter, busybox: Path) -> None:
    """Write the root directory of machines to *stage*, which is a fresh directory."""
    for folder in _MERGED:
        (stage / "usr" / folder).mkdir(parents=True, mode=0o755)
        (stage / folder).symlink_to(f"usr/{folder}")
    for point in POINTS:
        (stage / point.lstrip("/")).mkdir()
    for name, text in _FILES.items():
        (stage / name).parent.mkdir(exist_ok=True)
        (stage / name).write_text(text)
    programs = [Path(python.executable)]
    for entry in python.path:
        programs += _stage_imports(stage, Path(entry))
    _stage_file(stage, Path(python.executable))
    for library in _libraries([*programs, *_extensions()]):
        _stage_file(stage, library)
    _stage_busybox(stage, busybox)
    for name in ("python", "python3"):
        if not (stage / "usr" / "bin" / name).exists():
            (stage / "usr" / "bin" / name).symlink_to(python.executable)
    _compile(stage, [f"{stage}{entry}" for entry in python.path if os.path.isdir(entry)], python)


def stage_library(stage: Path, python: Interpreter) -> None:
    """Write what is mounted at ``/shoal`` to *stage*: the guest, and the packages it needs, for *python*."""
    for name, source in _packages().items():
        shutil.copytree(source, stage / "lib" / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copytree(stage / "lib" / "shoal" / "boxes" / "guest", stage / "guest")
    _compile(stage, [str(stage)], python, "/shoal")


def library_digest(python: Interpreter) -> str:
    """Return what changes when a file changes that ``stage_library`` writes."""
    return digest_of(python.version, *(digest_of_tree(source) for source in _packages().values()))


def _packages() -> dict[str, Path]:
    found = {}
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise IsolationUnavailableError(f"microvm: the package {name} is not installed")
        found[name] = Path(spec.origin).parent
    return found


def _stage_imports(stage: Path, entry: Path) -> list[Path]:
    """Copy one entry of the import path; returns the extension modules in it."""
    if entry.is_file():
        _stage_file(stage, entry)
        return []
    target = Path(f"{stage}{entry}")
    if not target.exists():  # it may lie in an entry that was copied before
        shutil.copytree(entry, target, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    return [Path(f"{entry}/{path.relative_to(target)}") for path in target.rglob("*.so")]


def _stage_file(stage: Path, source: Path) -> None:
    """Copy a file to its own path below *stage*, with what links lead to it resolved."""
    inside = f"/usr{source}" if source.parts[1] in _MERGED else str(source)
    target = Path(f"{stage}{inside}")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy2(source, target)


def _extensions() -> list[Path]:
    """Return the extension modules of the packages that ``stage_library`` brings."""
    return [path for source in _packages().values() for path in source.rglob("*.so")]


def _libraries(programs: Iterable[Path]) -> list[Path]:
    """Return the shared libraries that programs and extension modules of the host need, and those of the C library."""
    done = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    found = {Path(os.path.normpath(path)) for path in _LIBRARY.findall(done.stdout)}
    places = {path.parent for path in found if path.name == "libc.so.6"}
    return sorted(found | {place / name for place in places for name in _OFTEN_NEEDED if (place / name).exists()})


def _stage_busybox(stage: Path, busybox: Path) -> None:
    programs = stage / "usr" / "bin"
    shutil.copy2(busybox, programs / "busybox")
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name not in _NOT_LINKED and not (programs / name).exists():
            (programs / name).symlink_to("busybox")


def _compile(stage: Path, folders: list[str], python: Interpreter, place: str = "") -> None:
    """Compile modules for good: in a machine it would be done anew at each boot. What cannot be compiled stays source."""
    command = [
        python.executable,
        "-I",
        "-S",
        "-m",
        "compileall",
        "-q",
        "-j",
        "0",
        "--invalidation-mode",
        "unchecked-hash",
    ]
    strip = ["-s", str(stage)] + (["-p", place] if place else ["-p", "/"])
    subprocess.run([*command, *strip, *folders], capture_output=True, check=False)
