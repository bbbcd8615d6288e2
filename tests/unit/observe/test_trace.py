"""Spans in OpenTelemetry: the same ids, parents, times and errors; and logs that name the trace."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from shoal.errors import MissingExtraError
from shoal.kernel.clock import RealClock
from shoal.kernel.trace import Span, in_span
from shoal.observe.log import configure_logging
from shoal.observe.trace import SpanIds, export_spans


class Collected:
    """What a provider of the SDK was given."""

    def __init__(self, ids: SpanIds | None) -> None:
        self._memory = InMemorySpanExporter()
        self.provider = TracerProvider(id_generator=ids)  # type: ignore[arg-type]  # it is one by structure
        self.provider.add_span_processor(SimpleSpanProcessor(self._memory))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._memory.get_finished_spans()}


@pytest.fixture
def exact() -> Iterator[Collected]:
    collected = Collected(SpanIds())
    stop = export_spans(collected.provider)
    yield collected
    stop()
    collected.provider.shutdown()


def _ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def test_the_tree_has_the_ids_of_shoal(exact: Collected) -> None:
    clock = RealClock()
    with in_span(clock, "whole", attributes={"agent": "a", "tries": 2, "words": ["x"]}) as whole:
        with in_span(clock, "part") as part:
            pass
        with in_span(clock, "from afar", parent=Span("a" * 32, "b" * 16)) as afar:
            pass
    spans = exact.spans
    assert _ids(spans["whole"]) == (whole.trace_id, whole.span_id, None)
    assert _ids(spans["part"]) == (whole.trace_id, part.span_id, whole.span_id)
    assert _ids(spans["from afar"]) == ("a" * 32, afar.span_id, "b" * 16)
    assert spans["whole"].attributes == {"agent": "a", "tries": 2, "words": '["x"]', "shoal.span_id": whole.span_id}


def test_times_and_errors(exact: Collected) -> None:
    clock = RealClock()
    before = clock.micros() * 1000
    with pytest.raises(ValueError, match="bad"), in_span(clock, "x"):
        raise ValueError("bad")
    span = exact.spans["x"]
    assert span.start_time is not None
    assert span.end_time is not None
    assert before <= span.start_time <= span.end_time <= clock.micros() * 1000
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError: bad")


def test_a_trace_that_asks_not_to_be_recorded_is_not(exact: Collected) -> None:
    with in_span(RealClock(), "x", parent=Span("a" * 32, "b" * 16, sampled=False)):
        pass
    assert exact.spans == {}


def test_spans_of_others_get_ids_of_their_own(exact: Collected) -> None:
    tracer = exact.provider.get_tracer("other")
    for name in ("one", "two"):
        tracer.start_span(name).end()
    assert len({_ids(span)[:2] for span in exact.spans.values()}) == 2


def test_a_provider_with_other_ids_still_has_one_trace() -> None:
    collected = Collected(None)
    stop = export_spans(collected.provider)
    clock = RealClock()
    with in_span(clock, "whole") as whole, in_span(clock, "part"):
        pass
    stop()
    assert {_ids(span)[0] for span in collected.spans.values()} == {whole.trace_id}
    assert {_ids(span)[2] for span in collected.spans.values()} == {whole.span_id}
    with in_span(clock, "later"):
        pass
    assert "later" not in collected.spans
    collected.provider.shutdown()


def test_without_opentelemetry_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(MissingExtraError, match="monitoring"):
        export_spans()


def test_logs_name_the_trace_and_the_span() -> None:
    stream = StringIO()
    handler = configure_logging(json=True, stream=stream)
    try:
        with in_span(RealClock(), "x") as span:
            logging.getLogger("shoal.agent.worker").info("hello")
        logging.getLogger("shoal.agent.worker").info("outside")
    finally:
        logging.getLogger("shoal").removeHandler(handler)
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert (inside["trace_id"], inside["span_id"]) == (span.trace_id, span.span_id)
    assert "trace_id" not in outside
