"""The two threads that read for a box."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from shoal.boxes.guest.codec import Record
from shoal.boxes.guest.frames import JSON, frame
from shoal.boxes.guest.reader import Reader
from shoal.boxes.guest.termination import Termination

WAKE: Record = {"type": "wake"}


@pytest.fixture
def termination() -> Iterator[Termination]:
    before = signal.getsignal(signal.SIGTERM)
    yield Termination()
    signal.signal(signal.SIGTERM, before)


def test_the_main_thread_looks_for_more_while_the_second_reader_waits(termination: Termination) -> None:
    here, there = socket.socketpair()
    inbox: SimpleQueue[Record] = SimpleQueue()
    reader = Reader(there.fileno(), inbox, WAKE, termination)
    second = threading.Thread(target=reader._read_for_main, daemon=True)
    second.start()
    while not reader._second_polls:
        time.sleep(0.001)
    time.sleep(0.05)  # it is in poll by now
    reader._read(reader._count - 1)  # what the main thread does whose bytes the other has taken in
    reader._main_waits = True
    here.send(frame(JSON, b'{"type":"of no interest"}'))
    second.join(20)
    assert not second.is_alive() and inbox.get_nowait() == WAKE
    here.close()
    there.close()
