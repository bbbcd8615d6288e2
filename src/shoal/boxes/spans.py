"""The spans of a child, told to those who listen to spans in its runtime's process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from shoal.boxes import wire
from shoal.kernel.ports import RuntimeLink
from shoal.kernel.trace import tell_span, when_listened_to

__all__ = ["ChildSpans"]


class ChildSpans:
    """Tells a child whether its spans are wanted, and passes on those that come. What nobody wants is never sent.

    A child can say what it likes of its spans, but not that they are another one's: ``instance`` is its own name.
    """

    def __init__(self, name: str, link: RuntimeLink, send: Callable[[Any], None]) -> None:
        self._name = name
        self._link = link
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._told = False
        self._stop: Callable[[], None] | None = None

    def begin(self) -> None:
        """Tell the child, now and whenever it changes."""
        self._stop = when_listened_to(self._changed)

    def end(self) -> None:
        """The child has ended."""
        if self._stop is not None:
            self._stop()

    def _changed(self, listened: bool) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the child with it
            self._loop.call_soon_threadsafe(self._tell, listened)

    def _tell(self, listened: bool) -> None:
        if listened is not self._told:
            self._told = listened
            self._send(wire.Listen(on=listened))

    def ended(self, record: wire.Spans) -> None:
        """Pass on spans of the child."""
        if record.dropped:
            self._link.metric("count", "spans_dropped", record.dropped)
        for done in record.spans:
            tell_span(msgspec.structs.replace(done, attributes={**done.attributes, "instance": self._name}))
