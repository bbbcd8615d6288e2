"""Traces: ids, parents, the header traceparent to the letter, context variables, and listeners that change nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.kernel.clock import RealClock
from shoal.kernel.trace import (
    DoneSpan,
    Span,
    child_span,
    current_span,
    in_span,
    listen_to_spans,
    new_span,
    parse_traceparent,
    tell_span,
    when_listened_to,
    without_span,
)
from shoal.testing.clock import VirtualClock, run_virtual

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.fixture
def done() -> Iterator[list[DoneSpan]]:
    """All spans that end during the test."""
    spans: list[DoneSpan] = []
    stop = listen_to_spans(spans.append)
    yield spans
    stop()


def test_ids_have_their_digits_and_come_from_the_clock() -> None:
    first = new_span(RealClock(seed=1))
    assert re.fullmatch(r"[0-9a-f]{32}", first.trace_id)
    assert re.fullmatch(r"[0-9a-f]{16}", first.span_id)
    assert first.parent_span_id is None
    assert new_span(RealClock(seed=1)) == first != new_span(RealClock(seed=2))


def test_a_child_keeps_the_trace_and_knows_its_parent() -> None:
    clock = RealClock()
    parent = Span(TRACE, SPAN, sampled=False)
    child = child_span(parent, clock)
    assert (child.trace_id, child.parent_span_id, child.sampled) == (TRACE, SPAN, False)
    assert child.span_id != SPAN


def test_ids_of_zeros_mean_none_and_are_never_drawn() -> None:
    clock = RealClock()
    clock.random.getrandbits = lambda bits: 0  # type: ignore[method-assign]
    assert new_span(clock) == Span(f"{1:032x}", f"{1:016x}")


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_span_goes_through_the_header(trace: int, span: int, sampled: bool) -> None:
    sent = Span(f"{trace:032x}", f"{span:016x}", sampled=sampled)
    assert parse_traceparent(sent.traceparent) == sent


def test_the_example_of_the_recommendation() -> None:
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-01") == Span(TRACE, SPAN)
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00") == Span(TRACE, SPAN, sampled=False)
    assert Span(TRACE, SPAN).traceparent == f"00-{TRACE}-{SPAN}-01"


def test_later_versions_are_read_as_far_as_they_are_known() -> None:
    for text in (f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-03", f"01-{TRACE}-{SPAN}-01-what-the-future-is-like"):
        assert parse_traceparent(text) == Span(TRACE, SPAN)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"01-{TRACE}-{SPAN}-01.more",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN.upper()}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}0-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE[:-1]}٣-{SPAN}-01",
        f"00_{TRACE}_{SPAN}_01",
    ],
)
def test_what_is_no_traceparent_begins_a_new_trace(text: str) -> None:
    assert parse_traceparent(text) is None


@given(st.text(max_size=70))
def test_no_text_breaks_the_reading(text: str) -> None:
    found = parse_traceparent(text)
    assert found is None or found.trace_id in text


def test_spans_nest_and_follow_asyncio_tasks_and_threads(done: list[DoneSpan]) -> None:
    async def main(clock: VirtualClock) -> None:
        async def hop() -> Span:
            with in_span(clock, "hop") as span:
                await clock.sleep(0.5)
                return span

        with in_span(clock, "whole", attributes={"agent": "a"}) as whole:
            hops = await asyncio.gather(hop(), hop())
            there = await asyncio.to_thread(current_span.get)
            assert there == whole
        assert current_span.get() is None
        assert {span.parent_span_id for span in hops} == {whole.span_id}
        assert {span.trace_id for span in hops} == {whole.trace_id}
        assert len({span.span_id for span in hops}) == 2

    run_virtual(main)
    assert [(span.name, span.ended - span.started) for span in done] == [
        ("hop", 500_000),
        ("hop", 500_000),
        ("whole", 500_000),
    ]
    assert done[-1].attributes == {"agent": "a"}


def test_a_given_parent_is_the_parent(done: list[DoneSpan]) -> None:
    clock = RealClock()
    with in_span(clock, "here"), in_span(clock, "asked from afar", parent=Span(TRACE, SPAN)) as span:
        assert (span.trace_id, span.parent_span_id) == (TRACE, SPAN)
        assert current_span.get() == span


def test_an_error_is_told_and_goes_on(done: list[DoneSpan]) -> None:
    with pytest.raises(ValueError, match="bad"), in_span(RealClock(), "x"):
        raise ValueError("bad")
    assert [span.error for span in done] == ["ValueError: bad"]


def test_a_listener_that_fails_changes_nothing(done: list[DoneSpan], caplog: pytest.LogCaptureFixture) -> None:
    def broken(span: DoneSpan) -> None:
        raise RuntimeError("no")

    stop = listen_to_spans(broken)
    try:
        with caplog.at_level(logging.CRITICAL, "shoal.trace"), in_span(RealClock(), "x"):
            pass
    finally:
        stop()
    assert [span.name for span in done] == ["x"]
    with in_span(RealClock(), "y"):
        pass
    assert [span.name for span in done] == ["x", "y"]


def test_one_listener_twice_hears_twice_and_each_stop_ends_one() -> None:
    heard: list[str] = []

    def listener(span: DoneSpan) -> None:
        heard.append(span.name)

    first, second = listen_to_spans(listener), listen_to_spans(listener)
    with in_span(RealClock(), "two"):
        pass
    first()
    first()
    with in_span(RealClock(), "one"):
        pass
    second()
    with in_span(RealClock(), "none"):
        pass
    assert heard == ["two", "two", "one"]


def test_who_asks_hears_whether_anybody_listens() -> None:
    heard: list[bool] = []
    stop_asking = when_listened_to(heard.append)
    first, second = listen_to_spans(lambda _: None), listen_to_spans(lambda _: None)
    first()
    second()
    second()
    again = listen_to_spans(lambda _: None)
    assert heard == [False, True, False, True]
    stop_asking()
    again()
    assert heard == [False, True, False, True]


def test_a_span_that_ended_elsewhere_is_told(done: list[DoneSpan]) -> None:
    elsewhere = DoneSpan("request far", Span(TRACE, SPAN), 1, 2, {"instance": "far"})
    tell_span(elsewhere)
    assert done == [elsewhere]


def test_what_is_no_part_of_a_span_runs_without_it() -> None:
    with in_span(RealClock(), "here") as span:
        assert without_span().run(current_span.get) is None
        assert current_span.get() == span


@pytest.mark.parametrize(
    "wrong",
    [
        {"trace_id": "no hex", "span_id": SPAN},
        {"trace_id": TRACE, "span_id": SPAN.upper()},
        {"trace_id": TRACE, "span_id": SPAN, "parent_span_id": "1"},
    ],
)
def test_ids_that_come_from_elsewhere_are_checked(wrong: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Span)
