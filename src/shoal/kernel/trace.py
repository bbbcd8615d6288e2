"""Traces: which request led to which, over agents, threads, processes and nodes.

A trace has 32 hex digits, each of its spans 16 and the span that it came from: the ids of W3C Trace Context
(https://www.w3.org/TR/trace-context/), so that a trace can begin and go on outside of Shoal.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar, Token, copy_context
from types import TracebackType
from typing import Annotated, Any

import msgspec

from shoal.kernel.failure import Failure
from shoal.kernel.ports import Clock

__all__ = [
    "DoneSpan",
    "Entered",
    "Span",
    "child_span",
    "current_span",
    "in_span",
    "listen_to_spans",
    "new_span",
    "parse_traceparent",
    "tell_span",
    "when_listened_to",
    "without_span",
]

logger = logging.getLogger("shoal.trace")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?")
_SAMPLED = 1
TraceId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
SpanId = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
Micros = Annotated[int, msgspec.Meta(ge=0, lt=1 << 60)]


class Span(msgspec.Struct, frozen=True):
    """One hop of a trace. ``trace_id`` has 32 hex digits, ``span_id`` and ``parent_span_id`` 16.

    ``sampled`` False: who began the trace asks others not to record it.
    """

    trace_id: TraceId
    span_id: SpanId
    parent_span_id: SpanId | None = None
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The value of the header ``traceparent`` by which another program goes on with the trace."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else 0:02x}"


class DoneSpan(msgspec.Struct, frozen=True):
    """A span that has ended. Times are whole microseconds since 1970; ``error`` is the text of what was raised."""

    name: str
    span: Span
    started: Micros
    ended: Micros
    attributes: Mapping[str, Any]
    error: str | None = None


current_span: ContextVar[Span | None] = ContextVar("shoal_span", default=None)
"""The span under way in this asyncio task or thread."""


def without_span() -> Context:
    """Return a copy of the present context in which no span is under way: for what is not part of it."""
    context = copy_context()
    context.run(current_span.set, None)
    return context


_listeners: dict[object, Callable[[DoneSpan], object]] = {}
_asking: dict[object, Callable[[bool], object]] = {}  # who hears whether there are listeners
_changing = threading.Lock()


def listen_to_spans(listener: Callable[[DoneSpan], object]) -> Callable[[], None]:
    """Let *listener* be called with each span that ends in this process, where it ends; return what ends that.

    The spans of agents in child processes come too, a moment after their end, and on the loop of their runtime. A listener
    must not block. An error of it is logged, and changes nothing for the work that the span is about.
    """
    key = object()
    with _changing:
        _listeners[key] = listener
        if len(_listeners) == 1:
            _announce(True)

    def stop() -> None:
        with _changing:
            if _listeners.pop(key, None) is not None and not _listeners:
                _announce(False)

    return stop


def when_listened_to(changed: Callable[[bool], object]) -> Callable[[], None]:
    """Call *changed* now and whenever the first listener comes or the last one goes; return what ends that.

    It is told whether there is one, in the thread of whoever listens, and must neither block nor raise.
    """
    key = object()
    with _changing:
        _asking[key] = changed
        changed(bool(_listeners))

    def stop() -> None:
        _asking.pop(key, None)

    return stop


def _announce(listened: bool) -> None:
    for changed in list(_asking.values()):
        changed(listened)


def tell_span(done: DoneSpan) -> None:
    """Tell the listeners of a span that has ended, here or in a process of this one's."""
    for listener in list(_listeners.values()):
        try:
            listener(done)
        except Exception:
            logger.exception("a listener to spans failed")


def new_span(clock: Clock) -> Span:
    """Return the first span of a new trace."""
    return Span(f"{clock.random.getrandbits(128) or 1:032x}", _span_id(clock))


def child_span(parent: Span, clock: Clock) -> Span:
    """Return a new span that comes from *parent*."""
    return Span(parent.trace_id, _span_id(clock), parent.span_id, parent.sampled)


def _span_id(clock: Clock) -> str:
    return f"{clock.random.getrandbits(64) or 1:016x}"  # all zeros means: none


def parse_traceparent(text: str) -> Span | None:
    """Return the span in a header ``traceparent``, or None where it is none: then a new trace begins.

    As W3C Trace Context, section 3.2.4, demands: small letters, no id of zeros, version ``ff`` refused; what a later
    version appends after a further ``-`` is not looked at.
    """
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return Span(trace_id, span_id, None, bool(int(flags, 16) & _SAMPLED))


def in_span(
    clock: Clock, name: str, *, parent: Span | None = None, attributes: Mapping[str, Any] | None = None
) -> Entered:
    """Return a context in which a new span is the current one, and which tells the listeners of it at its end.

    Args:
        clock: gives times and ids.
        name: what is done, such as ``request worker``.
        parent: where it comes from (default: the current span; without one a new trace begins).
        attributes: JSON values for listeners.
    """
    above = current_span.get() if parent is None else parent
    span = new_span(clock) if above is None else child_span(above, clock)
    return Entered(clock, name, span, attributes or {})


class Entered:
    """The context of one span: ``with in_span(...) as span``."""

    __slots__ = ("_attributes", "_clock", "_name", "_span", "_started", "_token")

    def __init__(self, clock: Clock, name: str, span: Span, attributes: Mapping[str, Any]) -> None:
        self._clock = clock
        self._name = name
        self._span = span
        self._attributes = attributes
        self._started = 0
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> Span:
        self._token = current_span.set(self._span)
        if _listeners:
            self._started = self._clock.micros()
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        current_span.reset(self._token)
        if _listeners:
            self._tell(error)

    def _tell(self, error: BaseException | None) -> None:
        ended = self._clock.micros()
        done = DoneSpan(
            self._name,
            self._span,
            self._started or ended,
            ended,
            self._attributes,
            None if error is None else Failure.brief(error).text,
        )
        tell_span(done)
