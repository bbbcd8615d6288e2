"""Writing the write-ahead log to its whole length once, so that commits find their place on the disk laid out.

A commit that lengthens the log has the file system note new blocks, in its own journal, at each fsync; one that
overwrites has not, and takes about two thirds of the time. SQLite keeps the log's length when it begins it anew.

It is safe at any moment: the zeros come behind the last frame, as the remains of an earlier round do. Recovery ends at the
first frame that is not valid (SQLite, "The WAL-index file format": salt and checksum), readers and checkpoints go as far
as the index says. Nobody appends meanwhile, since the write lock is held. A kill in the middle leaves fewer zeros.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["lay_out_log"]

_LOG_BYTES = 4000 * (4096 + 24)  # what wal_autocheckpoint lets the log grow to: so many pages with their headers
_PIECE = bytes(1024 * 1024)


def lay_out_log(path: Path) -> None:
    """Lengthen the log of the database *path* to what it will grow to. The caller holds SQLite's write lock.

    A disk without room for it gets back what was taken: without it all works, only slower.
    """
    # Closing this file gives up no lock: SQLite's are on the database and its -shm, never on the log.
    with suppress(OSError), open(f"{path}-wal", "r+b", buffering=0) as log:
        length = log.seek(0, os.SEEK_END)
        try:
            for place in range(length, _LOG_BYTES, len(_PIECE)):
                os.pwrite(log.fileno(), _PIECE[: _LOG_BYTES - place], place)
        except OSError:
            log.truncate(length)
