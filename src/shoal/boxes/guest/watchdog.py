"""The child's own watch over its parent: it must end with it, whatever user code does to the event loop."""

from __future__ import annotations

import os
import select
import threading

__all__ = ["PARENT_GONE", "watch_parent"]

PARENT_GONE = 70
_LOOK_AGAIN_MS = 1000


def watch_parent(channel: int) -> None:
    """Start a thread that leaves with PARENT_GONE as soon as the other end of *channel* is closed."""
    poller = select.poll()
    # Only the hang-up is asked for, so frames never wake this thread.
    poller.register(channel, select.POLLRDHUP)

    def watch() -> None:
        # A poll keeps the channel open even when user code closes it, so it lets go now and then.
        while not poller.poll(_LOOK_AGAIN_MS):
            pass
        os._exit(PARENT_GONE)

    threading.Thread(target=watch, name="shoal-parent-watch", daemon=True).start()
