"""A descriptor that carries frames both ways, on an event loop. The runtime and the child use the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .frames import FrameError, Splitter

if TYPE_CHECKING:
    import asyncio

__all__ = ["Channel"]

_READ = 64 * 1024
_TURN = 64  # frames delivered before others on the loop have their turn


class Channel:
    """Reads frames and writes bytes without blocking. It owns the descriptor.

    ``on_frame(kind, body)`` gets each frame; ``on_end(error)`` is called once, when the other side has closed (None) or
    sent what is no frame. After the end nothing is delivered.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        splitter: Splitter,
        on_frame: Callable[[int, bytes], None],
        on_end: Callable[[FrameError | None], None],
    ) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._splitter = splitter
        self._on_frame = on_frame
        self._on_end = on_end
        self._outgoing = bytearray()
        self._paused = False  # by its owner
        self._drains = False  # the other side is gone
        self._reading = False  # the loop watches the descriptor
        self._turn: asyncio.Handle | None = None  # frames are left over for the next turn
        self.on_sent: Callable[[], None] | None = None  # called when everything that was kept back has been taken
        self.closed = False
        self._watch()

    @property
    def unsent(self) -> int:
        """How many bytes the other side has not taken yet."""
        return len(self._outgoing)

    @property
    def torn(self) -> bool:
        """Whether a frame has come in part."""
        return self._splitter.torn

    def send(self, data: bytes) -> None:
        """Write *data*, now or when the other side takes it. After the end it is dropped. On the loop's thread only."""
        if self.closed:
            return
        if not self._outgoing:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:  # the other side is gone; reading tells
                return
            if sent == len(data):
                return
            data = data[sent:]
            self._loop.add_writer(self._fd, self._flush)
        self._outgoing += data

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, memoryview(self._outgoing)[: 1 << 20])
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._outgoing)
        del self._outgoing[:sent]
        if not self._outgoing:
            self._loop.remove_writer(self._fd)
            if self.on_sent is not None:
                self.on_sent()

    def pause(self) -> None:
        """Deliver nothing until ``resume``. What is there at the end of the other side is delivered all the same."""
        if self._drains:
            return
        self._paused = True
        self._unwatch()

    def resume(self) -> None:
        """Deliver again."""
        if self._paused:
            self._paused = False
            self._deliver_soon()

    def read_now(self) -> None:
        """Deliver what has arrived, without waiting for the loop."""
        if not self.closed and not self._paused and self._turn is None:
            self._readable()

    def drain(self) -> None:
        """Deliver everything that has arrived, paused or not: the other side is gone and sends no more."""
        self._paused, self._drains = False, True
        while not self.closed and self._deliver(limit=None) and self._receive():
            pass

    def close(self) -> None:
        """Give up the descriptor. Nothing is delivered any more."""
        if self.closed:
            return
        self._unwatch()
        if self._outgoing:
            self._loop.remove_writer(self._fd)
        if self._turn is not None:
            self._turn.cancel()
        self.closed = True
        os.close(self._fd)

    def _watch(self) -> None:
        if not self._reading and not self._paused and not self.closed:
            self._loop.add_reader(self._fd, self._readable)
            self._reading = True

    def _unwatch(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._fd)
            self._reading = False

    def _readable(self) -> None:
        if self._receive():
            self._deliver()

    def _receive(self) -> bool:
        """Take in what has arrived; False when nothing had, or the end came."""
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._splitter.feed(data)
        else:
            self._end(None)
        return bool(data)

    def _deliver(self, limit: int | None = _TURN) -> bool:
        """Hand out frames, at most *limit*; False after the end."""
        count = 0
        try:
            while not self.closed and not self._paused:
                found = self._splitter.next()
                if found is None:
                    self._watch()
                    return True
                self._on_frame(*found)
                count += 1
                if limit is not None and count >= limit:
                    self._deliver_soon()
                    return True
        except FrameError as error:
            self._end(error)
        return not self.closed

    def _deliver_soon(self) -> None:
        self._unwatch()
        if self._turn is None and not self.closed:
            self._turn = self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        self._deliver()

    def _end(self, error: FrameError | None) -> None:
        self.close()
        self._on_end(error)
