"""Checking what a box is asked to be: every fault at once, before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import NoneType

from shoal.boxes.asked import env_faults
from shoal.boxes.levels import LEVELS
from shoal.boxes.spec import BoxLimits, BoxSpec, Mount
from shoal.errors import BoxSpecError

__all__ = ["check_spec"]

_RESERVED = ("/proc", "/dev", "/sys", "/shoal")
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_WHOLE = ("pids", "tmp_mib", "open_files", "mailbox_messages", "in_flight", "log_lines")
_NUMBERS = ("memory_mib", "max_message_mb", "max_program_mib", "mailbox_mib", "log_mib")


def check_spec(spec: object) -> BoxSpec:
    """Return *spec*. Raises BoxSpecError naming every fault of it and of its limits."""
    if not isinstance(spec, BoxSpec):
        raise BoxSpecError(f"spec must be a BoxSpec, not {type(spec).__name__}")
    faults = list(_shape_faults(spec)) or [*_faults(spec), *_limit_faults(spec.limits)]
    if faults:
        raise BoxSpecError(faults)
    return spec


def _shape_faults(spec: BoxSpec) -> Iterator[str]:
    """Yield what is of another kind than it should be: a text is a sequence of letters, and is true."""
    for name in ("network", "interleave"):
        if not isinstance(getattr(spec, name), bool):
            yield f"spec.{name} must be True or False, not {getattr(spec, name)!r:.80}"
    for name, example in (("mounts", "(Mount('data', '/data'),)"), ("collect", "('*.out',)")):
        if not isinstance(getattr(spec, name), (tuple, list)):
            yield f"spec.{name} must be a tuple, as in {example}, not {getattr(spec, name)!r:.80}"
    for name in ("env", "files"):
        if not isinstance(getattr(spec, name), Mapping):
            yield f"spec.{name} must be a mapping, not {getattr(spec, name)!r:.80}"
    for name in ("rootfs", "image"):
        if not isinstance(getattr(spec, name), (str, Path, NoneType)):
            yield f"spec.{name} must be a path, not {getattr(spec, name)!r:.80}"
    python: object = spec.python
    if not isinstance(python, (str, NoneType)):
        yield f"spec.python must be a path in the box as str, not {python!r:.80}"


def _faults(spec: BoxSpec) -> Iterator[str]:
    if spec.isolation is not None and spec.isolation not in (*LEVELS, "auto"):
        yield f"spec.isolation must be one of {', '.join(LEVELS)}, auto, not {spec.isolation!r:.80}"
    if spec.rootfs is not None and spec.image is not None:
        yield "spec.rootfs and spec.image cannot both be given"
    yield from _root_faults(spec)
    yield from env_faults(spec.env, "spec.env")
    for place, mount in enumerate(spec.mounts):
        yield from _mount_faults(f"spec.mounts[{place}]", mount)
    files: Mapping[str, object] = spec.files
    for path, content in files.items():
        if not _is_path(path):
            yield f"spec.files: {path!r:.120} is no path"
        if not isinstance(content, (str, bytes, Path)):
            yield f"spec.files[{path!r:.80}] must be str, bytes or a Path, not {type(content).__name__}"
        elif isinstance(content, Path) and not content.is_file():
            yield f"spec.files[{path!r:.80}]: there is no file {str(content)!r:.200}"
    yield from (f"spec.collect: {pattern!r:.80} is no path" for pattern in spec.collect if not _is_path(pattern))
    for name in ("start_timeout", "stop_grace"):
        value = getattr(spec, name)
        if not (value is None and name == "start_timeout") and not _is_number(value, 0):
            yield f"spec.{name} must be seconds above 0, not {value!r:.80}"
    if not isinstance(spec.cwd, str) or not spec.cwd.startswith("/"):
        yield f"spec.cwd must be an absolute path in the box, not {spec.cwd!r:.80}"
    if not isinstance(spec.hostname, str) or not _HOSTNAME.fullmatch(spec.hostname):
        yield f"spec.hostname must be a host name of at most 64 characters, not {spec.hostname!r:.80}"


def _root_faults(spec: BoxSpec) -> Iterator[str]:
    if spec.image is not None and not (Path(spec.image) / "oci-layout").is_file():
        yield (
            "spec.image must be the directory of an OCI image layout (with a file oci-layout), not"
            f" {str(spec.image)!r:.200}; nothing is pulled from a network"
        )
    if spec.rootfs is None:
        return
    root = Path(spec.rootfs)
    python = (spec.python or "/usr/bin/python3").lstrip("/")
    if not root.is_dir():
        yield f"spec.rootfs: there is no directory {str(root)!r:.200}"
    elif not ((root / python).is_symlink() or (root / python).is_file()):
        yield f"spec.rootfs: there is no Python at /{python} in {str(root)!r:.200}"


def _mount_faults(where: str, mount: object) -> Iterator[str]:
    if not isinstance(mount, Mount):
        yield f"{where} must be a Mount, not {type(mount).__name__}"
        return
    given: tuple[object, object, object] = (mount.source, mount.target, mount.writable)
    if not isinstance(given[0], (str, Path)) or not isinstance(given[1], str):
        yield f"{where} must be of two paths, not of {given[0]!r:.80} and {given[1]!r:.80}"
        return
    if not isinstance(given[2], bool):
        yield f"{where}.writable must be True or False, not {given[2]!r:.80}"
    if not Path(mount.source).exists():
        yield f"{where}.source: there is no {str(mount.source)!r:.200}"
    target = PurePosixPath(mount.target)
    if not mount.target.startswith("/") or ".." in target.parts or "\0" in mount.target:
        yield f"{where}.target must be an absolute path without '..', not {mount.target!r:.200}"
    elif str(target) == "/" or any(target.is_relative_to(taken) for taken in _RESERVED):
        yield f"{where}.target must not be / or in {', '.join(_RESERVED)}; it is {mount.target!r:.200}"


def _limit_faults(limits: object) -> Iterator[str]:
    if limits is None:
        return
    if not isinstance(limits, BoxLimits):
        yield f"limits must be a BoxLimits, not {type(limits).__name__}"
        return
    for name in _WHOLE:
        value = getattr(limits, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield f"limits.{name} must be a whole number from 1 up, not {value!r:.80}"
    best_effort: object = limits.best_effort
    if not isinstance(best_effort, bool):
        yield f"limits.best_effort must be True or False, not {best_effort!r:.80}"
    for name in (*_NUMBERS, *(("cpus",) if limits.cpus is not None else ())):
        if not _is_number(getattr(limits, name), 0):
            yield f"limits.{name} must be a number above 0, not {getattr(limits, name)!r:.80}"


def _is_number(value: object, above: float) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > above


def _is_path(path: object) -> bool:
    return isinstance(path, str) and bool(path) and "\0" not in path and ".." not in PurePosixPath(path).parts
