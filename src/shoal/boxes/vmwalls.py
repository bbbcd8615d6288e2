"""What stands around one virtual machine: its relay, with QEMU in bubblewrap below it, and the groups around all that."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

import msgspec

from shoal.boxes.holding import Holding
from shoal.boxes.launch import Launch, LaunchOrder, Walls
from shoal.boxes.procfs import ProcessStat, descendants
from shoal.boxes.state import note_process
from shoal.boxes.usernumbers import UserNumber
from shoal.boxes.vmcommand import KERNEL_MIB

__all__ = ["MachineHolding", "MachineWalls"]

_QEMU_MIB = 256  # of QEMU itself, of the code that it translated, of the relay, and of the disks' pages
_QEMU_THREADS = 512
_HELD = {"memory_mib": "vm", "pids": "vm", "tmp_mib": "vm"}
_WHOLE = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)


class MachineHolding(Holding):
    """The machine itself holds its memory, processes and disks; the groups hold its share of the processors, and QEMU."""

    def __init__(self, order: LaunchOrder) -> None:
        """Make the groups, as far as this machine lets us."""
        memory = order.limits.memory_mib + KERNEL_MIB + _QEMU_MIB
        room = msgspec.structs.replace(order.limits, memory_mib=memory, pids=_QEMU_THREADS)
        super().__init__(order.box_id, room)
        self._order = order
        self.held = {**self.held, **_HELD}
        if self.held.get("cpus") == "none" and order.limits.cpus == int(order.limits.cpus or 0):
            self.held["cpus"] = "vm"

    def verdict(self) -> str | None:
        """Return the limit for which the machine was ended, or None."""
        if not self._killed and (self._order.directory / "oom").exists():
            self._killed = True
        found = super().verdict()
        return None if found is None else f"memory limit {self._order.limits.memory_mib:g} MiB"


class MachineWalls(Walls):
    """The started command is the relay. It and all below it are one process group."""

    def __init__(self, launch: Launch, order: LaunchOrder, holding: MachineHolding, user: UserNumber | None) -> None:
        """Nothing is started yet. *user* is QEMU's, where that is another than the runtime's."""
        super().__init__(launch, holding=holding)
        self._order = order
        self._user = user

    def started(self, pid: int) -> None:
        """Learn the relay's process id, and leave a note of it for a sweep after this process was killed."""
        super().started(pid)
        note_process(self._order.box_id, pid)

    def members(self, stats: Iterable[ProcessStat]) -> list[ProcessStat]:
        """Pick what runs for the box: the relay, and QEMU with its walls."""
        if self.pid is None:
            return []
        stats = list(stats)
        return [stat for stat in stats if stat.pid == self.pid] + descendants(self.pid, stats)

    def signal(self, number: int) -> None:
        """Send a signal to every process in the machine; the relay carries it there.

        SIGKILL ends the machine, SIGSTOP and SIGCONT stop it and let it go on, as a whole.
        """
        if number in _WHOLE:
            super().signal(number)
        elif self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End the machine and its relay."""
        super().kill()
        if self.holding is not None:
            self.holding.group.freeze(False)  # version 1: a frozen process does not even die

    async def remove(self) -> None:
        """Remove its groups and give back its user number."""
        await super().remove()
        if self._user is not None:
            self._user.release()
