"""The way into a box. Whoever has nothing else to do reads, so that the box can be spoken to whatever its program does.

While the main thread waits it reads the channel itself: a message is handled by the thread that read it, and no other
has to be woken (leader and followers, Schmidt et al. 2000). When it has been busy for a moment the second reader, a
thread of its own, takes over until the main thread waits again.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

from .codec import Record, read_record
from .frames import BLOCK, Splitter, split_block
from .termination import Termination
from .watchdog import PARENT_GONE

_LARGEST = 1 << 31  # the runtime is trusted; its own limits hold
_READ = 256 * 1024
_PATROL = 0.002  # seconds that the main thread is busy before the second reader takes over
_QUIET = 25  # patrols that find the main thread waiting before the second reader sleeps


class Reader:
    """Reads frames and hands each record to the action of its type. Unknown types are ignored. It never writes."""

    def __init__(self, channel: int, inbox: SimpleQueue[Record], wake: Record, termination: Termination) -> None:
        """*inbox* is the main thread's; *wake* is put there to have it look again."""
        self._channel = channel
        self._inbox = inbox
        self._wake = wake
        self._termination = termination
        self._splitter = Splitter(_LARGEST)
        self._streams: dict[int, list[bytes]] = {}
        self.actions: dict[str, Callable[[Record], object]] = {}
        self._reading = threading.Lock()  # one thread takes in bytes at a time; who polls is only a matter of speed
        self._count = 0
        self._main_polls = False
        self._main_waits = False
        self._turn = 0  # how often the main thread got something to do
        self._second_polls = False
        self._second_sleeps = False
        self._alarm: SimpleQueue[None] = SimpleQueue()
        self._never = threading.Lock()
        self._never.acquire()
        self._bell_out, self._bell_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._main_poller = select.poll()
        self._main_poller.register(channel, select.POLLIN)
        self._main_poller.register(self._bell_out, select.POLLIN)
        self._second_poller = select.poll()
        self._second_poller.register(channel, select.POLLIN)
        self._glance = select.poll()  # for who holds the lock: two threads cannot use one of these at once
        self._glance.register(channel, select.POLLIN)

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._second, name="shoal-reader", daemon=True).start()

    def stream(self, number: int) -> bytes:
        """Return what came under a number, and forget it."""
        return b"".join(self._streams.pop(number, ()))

    # -- the main thread

    def next(self) -> Record:
        """Return what comes next for the main thread, which reads meanwhile."""
        while self._inbox.empty():
            if self._second_polls:
                self._main_waits = True
                try:
                    return self._inbox.get()
                finally:
                    self._main_waits = False
            count = self._count
            self._main_polls = True
            try:
                ready = self._main_poller.poll()
            finally:
                self._main_polls = False
            with self._termination:
                self._take_in(ready, count)
        self._turn += 1
        if self._second_sleeps:
            self._second_sleeps = False
            self._alarm.put(None)
        return self._inbox.get()

    def ring(self) -> None:
        """Have the main thread look into its inbox: something was put there that did not come by the channel."""
        try:
            os.write(self._bell_in, b"!")
        except BlockingIOError:  # it has rung often enough
            return

    def _take_in(self, ready: list[tuple[int, int]], count: int) -> None:
        for fd, _ in ready:
            if fd == self._bell_out:
                os.read(self._bell_out, 4096)
            else:
                self._read(count)

    # -- the second reader

    def _second(self) -> None:
        seen, waited = -1, 0
        while True:
            self._never.acquire(timeout=_PATROL)
            if self._main_polls:
                seen, waited = -1, waited + 1
                if waited >= _QUIET:
                    self._sleep()
                    waited = 0
            elif seen != self._turn:
                seen, waited = self._turn, 0
            else:
                self._read_for_main()

    def _sleep(self) -> None:
        self._second_sleeps = True
        if self._main_polls:
            self._alarm.get()
        self._second_sleeps = False

    def _read_for_main(self) -> None:
        """Read until the main thread waits for something."""
        self._second_polls = True
        while not self._main_waits:
            count = self._count
            self._second_poller.poll()
            self._read(count)
        self._second_polls = False
        self._inbox.put(self._wake)

    # -- bytes

    def _read(self, count: int) -> None:
        """Take in what has arrived, if nobody did since *count*."""
        with self._reading:
            if count != self._count and not self._glance.poll(0):
                return
            self._count += 1
            try:
                self._splitter.feed(self._bytes())
                while (found := self._splitter.next()) is not None:
                    self._take(*found)
            except BaseException as error:  # noqa: BLE001 - nobody can speak to this box any more
                sys.excepthook(type(error), error, error.__traceback__)
                os._exit(PARENT_GONE)

    def _bytes(self) -> bytes:
        try:
            data = os.read(self._channel, _READ)
        except OSError:  # the program has closed it
            data = b""
        if not data:
            os._exit(PARENT_GONE)
        return data

    def _take(self, kind: int, body: bytes) -> None:
        if kind == BLOCK:
            number, data = split_block(body)
            self._streams.setdefault(number, []).append(data)
            return
        record = read_record(body)
        action = self.actions.get(record["type"])
        if action is not None:
            action(record)
