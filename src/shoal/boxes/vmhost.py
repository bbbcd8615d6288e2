"""What this host can give virtual machines: QEMU, the walls around it, and whether KVM is worth using."""

from __future__ import annotations

import functools
import os
import platform
import stat
import subprocess
import sys
from pathlib import Path

import msgspec

from shoal.boxes.usernumbers import FIRST_USER, covers
from shoal.boxes.vmdisk import program
from shoal.errors import IsolationUnavailableError

__all__ = ["MachineHost", "examine_host"]

_CHECK = Path(__file__).parent / "vmcheck.py"
_CHECK_SECONDS = 5.0
_FAST_ENOUGH_MS = 10.0
_KVM = Path("/dev/kvm")
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP
_ALL_MAY = stat.S_IROTH | stat.S_IWOTH


class MachineHost(msgspec.Struct, frozen=True):
    """What was found.

    ``drop_root``: the runtime is root and QEMU is not to be. ``kvm_fault`` says why KVM is not used, None when it is;
    ``tsc_khz`` is the rate of the time stamp counter.
    """

    qemu: str
    bwrap: str
    setpriv: str | None
    drop_root: bool
    tsc_khz: int
    kvm_fault: str | None
    kvm_group: int | None = None


class _Check(msgspec.Struct, frozen=True):
    tsc_khz: int
    kvm_ms: float | None = None
    kvm_fault: str = "it did not end the loop of the check"


@functools.cache
def examine_host() -> MachineHost:
    """Look, once in the life of this process; takes 0.1 s, at most 5. Raises IsolationUnavailableError."""
    if platform.machine() != "x86_64":
        raise IsolationUnavailableError(f"microvm: needs an x86_64 processor, this is {platform.machine()}")
    drop_root = os.geteuid() == 0 and covers(FIRST_USER)
    setpriv = program("setpriv", "util-linux") if drop_root else None
    check = _run_check()
    group, fault = _kvm_rights(drop_root)
    if fault is None and check.kvm_ms is None:
        fault = check.kvm_fault
    if fault is None and check.kvm_ms is not None and check.kvm_ms > _FAST_ENOUGH_MS:
        fault = f"it takes {check.kvm_ms:.0f} ms for a loop of 20,000 rounds: it is interpreted, not run"
    return MachineHost(
        qemu=program("qemu-system-x86_64", "qemu-system-x86"),
        bwrap=program("bwrap", "bubblewrap"),
        setpriv=setpriv,
        drop_root=drop_root,
        tsc_khz=check.tsc_khz,
        kvm_fault=fault,
        kvm_group=group,
    )


def _run_check() -> _Check:
    command = [sys.executable, "-I", "-S", str(_CHECK)]
    try:
        printed = subprocess.run(command, capture_output=True, timeout=_CHECK_SECONDS, check=False).stdout
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
    try:
        return msgspec.json.decode(printed.splitlines()[-1], type=_Check)
    except (IndexError, msgspec.MsgspecError) as error:
        raise IsolationUnavailableError(f"microvm: the check of the processor failed: {error}") from error


def _kvm_rights(drop_root: bool) -> tuple[int | None, str | None]:
    """Return the group that QEMU needs for KVM, if any, and why it could not use KVM, if so."""
    try:
        found = _KVM.stat()
    except OSError:
        return None, f"there is no {_KVM}"
    if not drop_root:
        return None, None if os.access(_KVM, os.R_OK | os.W_OK) else f"{_KVM} is not open to this user"
    if found.st_mode & _ALL_MAY == _ALL_MAY:
        return None, None
    if found.st_mode & _GROUP_MAY == _GROUP_MAY:
        return found.st_gid, None
    return None, f"{_KVM} is open to root alone, and QEMU does not run as root: give it a group (mode 0660)"
