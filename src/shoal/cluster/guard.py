"""Becomes a server that ends with its starter: ``guard.py PARENT SIGNAL UID GID COMMAND...``. Standard library only."""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
PARENT_GONE = 3


def main(parent: int, signal: int, uid: int, gid: int, command: list[str]) -> None:
    """Take the rights of *uid* (below 0: keep them), ask for the death signal, and run the command in this place."""
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which would clear it. Where there is no prctl, the server is ended by its starter alone.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        sys.exit(PARENT_GONE)
    os.execv(command[0], command)


if __name__ == "__main__":
    _parent, _signal, _uid, _gid = map(int, sys.argv[1:5])
    main(_parent, _signal, _uid, _gid, sys.argv[5:])
