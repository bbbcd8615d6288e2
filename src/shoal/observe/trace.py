"""Spans for OpenTelemetry: what collects them elsewhere gets them with the ids that they have here."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import msgspec

from shoal.errors import MissingExtraError
from shoal.kernel.clock import RealClock
from shoal.kernel.trace import DoneSpan, Span, listen_to_spans

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["SpanIds", "export_spans"]

_exported: ContextVar[Span | None] = ContextVar("shoal_exported_span", default=None)


class SpanIds:
    """The id generator to give to a provider of the OpenTelemetry SDK: ``TracerProvider(id_generator=SpanIds())``.

    Spans of Shoal keep their ids, so that their tree is whole over processes; spans of others get ids of chance.
    """

    def __init__(self) -> None:
        self._random = RealClock().random

    def generate_trace_id(self) -> int:
        """Return the trace id of the span that is being exported, else one of chance."""
        span = _exported.get()
        return (self._random.getrandbits(128) or 1) if span is None else int(span.trace_id, 16)

    def generate_span_id(self) -> int:
        """Return the id of the span that is being exported, else one of chance."""
        span = _exported.get()
        return (self._random.getrandbits(64) or 1) if span is None else int(span.span_id, 16)

    def is_trace_id_random(self) -> bool:
        """Tell that its trace ids are of chance in all their bits."""
        return True


def export_spans(provider: TracerProvider | None = None) -> Callable[[], None]:
    """Hand each span that ends in this process to OpenTelemetry, and return what ends that.

    Each has its trace id, its times, its attributes, and ``shoal.span_id`` and ``shoal.parent_span_id``; with SpanIds
    as the provider's id generator its own ids are these, too. Spans whose trace asks not to be recorded are left out.

    Args:
        provider: who takes them (default: OpenTelemetry's global provider).

    Raises:
        MissingExtraError: the API of OpenTelemetry is not installed.
    """
    try:
        from opentelemetry import trace
    except ImportError as error:
        raise MissingExtraError("monitoring", "the export of spans") from error
    chosen = provider or trace.get_tracer_provider()
    tracer = chosen.get_tracer("shoal")
    exact = isinstance(getattr(chosen, "id_generator", None), SpanIds)

    def export(done: DoneSpan) -> None:
        if not done.span.sampled:
            return
        token = _exported.set(done.span)
        try:
            span = tracer.start_span(
                done.name, _above(done.span, exact), attributes=_attributes(done), start_time=done.started * 1000
            )
        finally:
            _exported.reset(token)
        if done.error is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, done.error))
        span.end(done.ended * 1000)

    return listen_to_spans(export)


def _above(span: Span, exact: bool) -> Context:
    """Return the context of its parent. Without its own id a first span has none that others could name: then it
    stands below a span of this id, as all that come from it do."""
    from opentelemetry import trace
    from opentelemetry.context import Context

    parent = span.parent_span_id or (None if exact else span.span_id)
    if parent is None:
        return Context()
    above = trace.SpanContext(
        int(span.trace_id, 16), int(parent, 16), is_remote=True, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(above), Context())


def _attributes(done: DoneSpan) -> dict[str, AttributeValue]:
    ids = {"shoal.span_id": done.span.span_id, "shoal.parent_span_id": done.span.parent_span_id}
    said: dict[str, Any] = {**done.attributes, **ids}
    return {name: _attribute(value) for name, value in said.items() if value is not None}


def _attribute(value: Any) -> AttributeValue:
    return value if isinstance(value, (str, bool, int, float)) else msgspec.json.encode(value).decode()
