"""Run as a script in a box: takes all that the library of the guest lets it take."""

from __future__ import annotations

import os
import sys
import threading

import shoal_guest

COUNT = int(sys.argv[2])


def publishes() -> None:
    for number in range(COUNT):
        shoal_guest.publish_event("noise", number)


def threads() -> None:
    def send() -> None:
        for number in range(max(1, COUNT // 300)):
            shoal_guest.send_message("sink", number)

    started = []
    for _ in range(300):
        thread = threading.Thread(target=send)
        try:
            thread.start()
        except RuntimeError:  # its processes are counted, threads too
            break
        started.append(thread)
    for thread in started:
        thread.join()


def lines() -> None:
    for _ in range(max(1, COUNT // 10)):
        os.write(1, b"\n" * 65536)


def endless() -> None:
    """One line that never ends, on both streams."""
    for _ in range(max(1, COUNT // 10)):
        os.write(1, b"y" * 65536)
        os.write(2, b"z" * 65536)


def holds() -> None:
    """Hold the interpreter in one call that never returns."""
    sum(iter(int, 1))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    shoal_guest.run_forever()
