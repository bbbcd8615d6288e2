"""A user number for each living box, so that the kernel counts its processes apart from all others."""

from __future__ import annotations

import errno
import itertools
import socket
from pathlib import Path

from shoal.errors import BoxStartError

__all__ = ["FIRST_USER", "USERS", "UserNumber", "covers"]

FIRST_USER = 1_900_000_000
USERS = 100_000


class UserNumber:
    """One number that no other box on this machine has until ``release``, or until this process ends.

    A number is claimed by a name of the kernel's (an abstract socket address): nothing is left behind, however it ends.
    """

    _next = itertools.count()

    def __init__(self, first: int = FIRST_USER) -> None:
        """Claim the next free one from *first* up. Raises BoxStartError."""
        self._claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for _ in range(USERS):
            self.number = first + next(UserNumber._next) % USERS
            try:
                self._claim.bind(f"\0shoal-user-{self.number}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue
                self._claim.close()
                raise
            return
        self._claim.close()
        raise BoxStartError(f"all {USERS} user numbers from {first} up are taken", level="bubblewrap", phase="launch")

    def release(self) -> None:
        """Give it back."""
        self._claim.close()


def covers(first: int, uid_map: Path = Path("/proc/self/uid_map")) -> bool:
    """Tell whether the numbers from *first* up are users of this process's user namespace."""
    try:
        rows = [list(map(int, line.split())) for line in uid_map.read_text().splitlines()]
    except (OSError, ValueError):
        return False
    return any(start <= first and first + USERS <= start + count for start, _, count in rows)
