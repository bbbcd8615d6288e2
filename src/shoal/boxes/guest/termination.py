"""SIGTERM in a box: SystemExit in the main thread, so that ``finally`` runs, but never in the midst of a frame."""

from __future__ import annotations

import signal
import threading
from typing import Any

TERMINATED = 128 + signal.SIGTERM


class Termination:
    """As a context it keeps SIGTERM back while the main thread is in it. Made in the main thread."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._depth = 0
        self._due = False
        self.asked = False
        signal.signal(signal.SIGTERM, self._terminated)

    def raise_in_main(self) -> None:
        """Let the main thread have the signal, whatever it does."""
        signal.pthread_kill(self._main, signal.SIGTERM)

    def ignore(self) -> None:
        """From here on the signal has no effect: the box is leaving."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def _terminated(self, _signal: int, _stack: Any) -> None:
        self.asked = True
        if self._depth:
            self._due = True
        else:
            raise SystemExit(TERMINATED)

    def __enter__(self) -> None:
        if threading.get_ident() == self._main:
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        if threading.get_ident() == self._main:
            self._depth -= 1
            if self._due and not self._depth:
                self._due = False
                raise SystemExit(TERMINATED)
