"""The way out of a box: whole frames, one after the other, from any thread."""

from __future__ import annotations

import os
import sys
import threading

from .errors import BoxError
from .termination import Termination
from .watchdog import PARENT_GONE


def flush() -> None:
    """Let out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the program has closed it or put something else in its place
            continue


class Outbox:
    """Writes frames, and waits while the runtime does not take them: a box is no faster than its runtime.

    The thread that reads the channel never writes: if both sides waited for each other nobody would go on.
    """

    def __init__(self, channel: int, termination: Termination) -> None:
        self._channel = channel
        self._termination = termination
        self._lock = threading.Lock()
        self.forked = False
        os.register_at_fork(after_in_child=self._let_go)

    def _let_go(self) -> None:
        """A forked child of the box does not speak for it, and does not keep its channel open."""
        self.forked = True
        try:
            os.close(self._channel)
        except OSError:  # the program has closed it
            return

    def send(self, data: bytes) -> None:
        """Write frames of the program; what it printed before goes before. Raises BoxError in a forked child."""
        flush()
        self.post(data)

    def post(self, data: bytes) -> None:
        """Write frames that have nothing to do with what the program prints."""
        if self.forked:
            raise BoxError("a forked process cannot speak for its box; use threads, or `subprocess` and pipes")
        with self._termination, self._lock:
            try:
                sent = os.write(self._channel, data)
                while sent < len(data):
                    data = data[sent:]
                    sent = os.write(self._channel, data[: 1 << 20])
            except OSError:  # the runtime is gone
                os._exit(PARENT_GONE)
