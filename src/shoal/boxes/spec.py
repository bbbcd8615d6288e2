"""What a box is asked to be: ``BoxSpec``, ``BoxLimits``, ``Mount``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

__all__ = ["BoxLimits", "BoxSpec", "Mount"]


class BoxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a box may take.

    A limit that was asked for and cannot be held on this machine is a ``LimitUnavailableError``, with ``best_effort=True`` a
    warning; a default that cannot be held only warns.

    Args:
        memory_mib: resident memory of all its processes, in MiB.
        cpus: cores; 0.5 is half of one, None is no limit.
        pids: processes and threads.
        tmp_mib: size of each of ``/tmp`` and ``/work``, in MiB.
        open_files: open files of each process.
        max_message_mb: size of a message, an event or an answer, in MiB.
        max_program_mib: size of a packed program, in MiB.
        mailbox_messages: messages and events that wait for it.
        mailbox_mib: their size together, in MiB; also of answers that it has not read.
        in_flight: its own requests that wait for an answer.
        log_lines: lines of its output that are kept.
        log_mib: their size together, in MiB.
        best_effort: whether a limit that cannot be held is a warning and no error.
    """

    memory_mib: float = 512
    cpus: float | None = None
    pids: int = 256
    tmp_mib: int = 64
    open_files: int = 256
    max_message_mb: float = 10
    max_program_mib: float = 256
    mailbox_messages: int = 1000
    mailbox_mib: float = 64
    in_flight: int = 256
    log_lines: int = 10_000
    log_mib: float = 4
    best_effort: bool = False


class Mount(msgspec.Struct, frozen=True):
    """A directory or file of the host in the box. ``target`` is absolute, and not ``/``, ``/proc``, ``/dev``, ``/sys``,
    ``/shoal`` or below these."""

    source: str | Path
    target: str
    writable: bool = False


class BoxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a box is asked to be.

    Args:
        isolation: its level; None: the runtime's.
        rootfs: an unpacked root directory in place of the host's ``/usr``.
        image: an OCI image layout directory, unpacked once into a cache with its digests checked.
        python: the interpreter in the box; None: the host's own, with a root directory ``/usr/bin/python3`` in it.
        env: its environment, beside ``PATH``, ``HOME`` and ``LANG``.
        mounts: directories and files of the host in it.
        files: path in the box -> str, bytes or a host path, written before the program starts.
        collect: globs, read at a normal end into ``box.outputs``.
        network: True: the host's own network; else none.
        limits: what it may take; None: the runtime's.
        interleave: whether it handles any message while it waits for an answer.
        start_timeout: seconds until it must have said hello (microvm: 60 unless given).
        stop_grace: seconds that it has to end by itself.
        cwd: its working directory.
        hostname: its host name.
    """

    isolation: str | None = None
    rootfs: str | Path | None = None
    image: str | Path | None = None
    python: str | None = None
    env: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    files: Mapping[str, str | bytes | Path] = {}
    collect: tuple[str, ...] = ()
    network: bool = False
    limits: BoxLimits | None = None
    interleave: bool = False
    start_timeout: float | None = None
    stop_grace: float = 5.0
    cwd: str = "/work"
    hostname: str = "box"
