"""Level ``microvm``: a virtual machine of QEMU's for each box, with a kernel of its own.

With KVM the walls are the processor's. Without it (``-accel tcg``, only when the level is asked for by name) QEMU
interprets the machine, which is no security boundary; so QEMU itself runs inside bubblewrap either way: it sees its own
program, firmware and the machine's disks, which are read-only, no network and no process but its own, under a user number
that owns nothing.

The runtime's child is ``vmrelay.py``; in the machine ``guest/shim.py`` answers it. All machines share their disks.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import sys
from pathlib import Path

import msgspec

from shoal.boxes.launch import BOX_PATH, Launch, LaunchOrder, Walls
from shoal.boxes.roots import Roots
from shoal.boxes.spec import BoxSpec
from shoal.boxes.usernumbers import UserNumber
from shoal.boxes.vmcache import PartCache
from shoal.boxes.vmcommand import qemu_command, walls_of_qemu
from shoal.boxes.vmhost import examine_host
from shoal.boxes.vmimage import Image, image_fault, open_image
from shoal.boxes.vmwalls import MachineHolding, MachineWalls
from shoal.errors import BoxSpecError, BoxStartError, IsolationUnavailableError

__all__ = ["MicrovmLauncher", "kvm_fault", "microvm_fault"]

LEAST_MEMORY_MIB = 32
_MOST_DISKS = 16
_RELAY = Path(__file__).parent / "vmrelay.py"


def microvm_fault(cache: PartCache | None = None) -> str | None:
    """Tell why no virtual machine can be started here, None when one can. Takes 0.1 s the first time."""
    try:
        examine_host()
    except IsolationUnavailableError as error:
        return str(error)
    return image_fault(cache or PartCache())


def kvm_fault() -> str | None:
    """Tell why KVM is not used here, None when it is. Raises IsolationUnavailableError when there can be no machine."""
    return examine_host().kvm_fault


class MicrovmLauncher:
    """Starts virtual machines."""

    level = "microvm"

    def __init__(self, cache: PartCache | None = None, guest: str = "/shoal/guest/main.py") -> None:
        """Take kernel and disks from *cache* (default: the user's); *guest* is what Python runs in the machine."""
        self._cache = cache or PartCache()
        self._guest = guest
        self._roots = Roots()
        self._images: dict[bytes, Image] = {}

    async def prepare(self, spec: BoxSpec) -> None:
        """Make the disks that *spec* asks for, where they are missing or what they were made of has changed.

        A mount or a root directory is what its directory holds when this is called. Raises BoxSpecError,
        IsolationUnavailableError.
        """
        faults = list(_faults(spec))
        if faults:
            raise BoxSpecError(faults)
        root = await self._roots.prepare(spec)
        self._images[_key(spec)] = await asyncio.to_thread(self._prepare, spec, root)

    def _prepare(self, spec: BoxSpec, root: Path | None) -> Image:
        examine_host()
        image = open_image(self._cache, spec, root)
        if any(letter.isspace() or letter == '"' for letter in image.python):  # it stands in the kernel's command line
            raise BoxSpecError(
                f"level microvm needs a Python whose path has no blanks and quotes, not {image.python!r}"
            )
        return image

    def build(self, order: LaunchOrder) -> Walls:
        """Return the relay's command. Raises BoxStartError."""
        if order.limits.memory_mib < LEAST_MEMORY_MIB:
            raise BoxStartError(
                f"memory_mib={order.limits.memory_mib:g}: a virtual machine needs {LEAST_MEMORY_MIB} at least",
                level=self.level,
                phase="spec",
            )
        image = self._images.get(_key(order.spec))
        if image is None:
            raise BoxStartError("the spec was not prepared", level=self.level, phase="launch")
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, order.directory, ignore_errors=True)
            try:
                setup = _write_setup(order, image, self._guest)
            except OSError as error:
                raise BoxStartError(f"no setup: {error}", level=self.level, phase="launch") from error
            host = examine_host()
            user = UserNumber() if host.drop_root else None
            if user is not None:
                undo.callback(user.release)
            walls = walls_of_qemu(host, image, None if user is None else user.number)
            relay = (sys.executable, "-I", "-S", str(_RELAY), str(os.getpid()), str(setup))
            holding = MachineHolding(order)
            command = holding.joined((*relay, *walls, *qemu_command(host, image, order.limits)))
            undo.pop_all()
        launch = Launch(command=command, env={"PATH": os.defpath, "LANG": "C.UTF-8"}, cwd="/")
        return MachineWalls(launch, order, holding, user)


def _faults(spec: BoxSpec) -> list[str]:
    faults = []
    if spec.network:
        faults.append("level microvm has no network; use bubblewrap or gvisor")
    faults += [f"level microvm has no writable mounts: {mount.target}" for mount in spec.mounts if mount.writable]
    if len(spec.mounts) > _MOST_DISKS:
        faults.append(f"level microvm has at most {_MOST_DISKS} mounts, not {len(spec.mounts)}")
    return faults


def _key(spec: BoxSpec) -> bytes:
    return msgspec.json.encode([spec.rootfs, spec.image, spec.python, spec.mounts], enc_hook=str)


def _write_setup(order: LaunchOrder, image: Image, guest: str) -> Path:
    """Write what the shim has to know; the relay reads and removes it, and adds time and chance."""
    spec = order.spec
    setup = {
        # Its parent, the shim, cannot end before it, so there is no parent to look for and no death signal to set.
        "command": [image.python, "-I", "-S", guest, "0", "set"],
        "hostname": spec.hostname,
        "env": {"PATH": BOX_PATH, "HOME": "/work", "LANG": "C.UTF-8", **spec.env},
        "tmp_mib": order.limits.tmp_mib,
        "memory_mib": math.ceil(order.limits.memory_mib),
        "pids": order.limits.pids,
        "disks": [
            {"serial": f"mount{number}", "target": disk.target, "file": disk.name}
            for number, disk in enumerate(image.disks)
        ],
    }
    order.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = order.directory / "setup.json"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(setup))
    return path
