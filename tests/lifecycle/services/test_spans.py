"""Traces over processes and boxes: one tree for each request, told to the listeners of the runtime."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shoal import EventFilter
from shoal.kernel.clock import RealClock
from shoal.kernel.trace import DoneSpan, Span, in_span, listen_to_spans
from shoal.observe.trace import SpanIds, export_spans
from shoal.services import AgentInfo, Pool, ServiceAgent
from tests.support.levels import chosen, need
from tests.support.registries import TOKENS, as_, registry
from tests.support.runtimes import UNLIMITED, running, until

STEPS = ("extract", "sentiment", "summary", "report")


class Step(ServiceAgent):
    """One step of a workflow: notes what it saw, and asks the next."""

    def info(self) -> AgentInfo:
        return AgentInfo(self.config["name"], (self.config["name"],))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        from shoal.kernel.trace import current_span

        span = current_span.get()
        assert span is not None and self.header is not None and self.header.span_id == span.span_id
        ids = {key: payload[key] for key in ("workflow_id", "document_id")}
        seen = [{**ids, "trace": span.trace_id, "span": span.span_id, "parent": span.parent_span_id}]
        if payload["left"]:
            first, *left = payload["left"]
            answer = await self.send_request(first, {**payload, "left": left})
            seen += answer["seen"]
        return {"seen": seen}


@contextmanager
def listening() -> Iterator[list[DoneSpan]]:
    spans: list[DoneSpan] = []
    stop = listen_to_spans(spans.append)
    try:
        yield spans
    finally:
        stop()


async def workflow(runtime: Any) -> list[dict[str, Any]]:
    first, *left = STEPS
    answer = await runtime.services.request(first, {"workflow_id": "w", "document_id": "d", "left": left})
    seen: list[dict[str, Any]] = answer["seen"]
    return seen


@pytest.mark.spec("S35")
@pytest.mark.parametrize("isolation", chosen("inline", "thread", "process", "bubblewrap", "gvisor"))
def test_four_steps_are_one_tree_of_spans(store_url: str, run: Any, isolation: Any) -> None:
    if isolation not in ("inline", "thread"):
        need(isolation)

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            agents = [await runtime.services.start(Step, {"name": name}, isolation) for name in STEPS]
            with listening() as spans:
                seen = await workflow(runtime)
                await until(lambda: len(spans) == 4)
            assert {(step["workflow_id"], step["document_id"]) for step in seen} == {("w", "d")}
            assert len({step["trace"] for step in seen}) == 1
            assert [step["parent"] for step in seen] == [None, *(step["span"] for step in seen[:3])]
            told = {span.name: span for span in spans}
            for name, agent, step in zip(STEPS, agents, seen, strict=True):
                span = told[f"request {name}"]
                assert span.span == Span(step["trace"], step["span"], step["parent"])
                assert span.attributes == {"instance": agent.instance}
                assert span.started <= span.ended
            assert told["request report"].ended <= told["request extract"].ended

    run(main)


def test_spans_of_children_are_exported_below_their_parents(store_url: str, run: Any) -> None:
    async def main() -> None:
        memory = InMemorySpanExporter()
        provider = TracerProvider(id_generator=SpanIds())  # type: ignore[arg-type]  # it is one by structure
        provider.add_span_processor(SimpleSpanProcessor(memory))
        async with running(store_url, limits=UNLIMITED) as runtime:
            for name in STEPS:
                await runtime.services.start(Step, {"name": name}, "process")
            stop = export_spans(provider)
            try:
                with in_span(RealClock(), "whole") as whole:
                    seen = await workflow(runtime)
                await until(lambda: len(memory.get_finished_spans()) == 5)
            finally:
                stop()
        by_name = {span.name: span for span in memory.get_finished_spans()}
        above = whole.span_id
        for name, step in zip(STEPS, seen, strict=True):
            span = by_name[f"request {name}"]
            assert span.context is not None and span.parent is not None
            assert f"{span.context.trace_id:032x}" == whole.trace_id == step["trace"]
            assert f"{span.parent.span_id:016x}" == above
            above = f"{span.context.span_id:016x}"
            assert above == step["span"]
        provider.shutdown()

    run(main)


def test_without_listeners_a_child_sends_nothing(store_url: str, run: Any, monkeypatch: Any) -> None:
    async def main() -> None:
        frames: list[Any] = []
        from shoal.boxes.spans import ChildSpans

        original = ChildSpans.ended

        def ended(self: ChildSpans, record: Any) -> None:
            frames.append(record)
            original(self, record)

        monkeypatch.setattr(ChildSpans, "ended", ended)
        async with running(store_url, limits=UNLIMITED) as runtime:
            for name in STEPS:
                await runtime.services.start(Step, {"name": name}, "process")
            await workflow(runtime)
            with listening() as spans:
                await workflow(runtime)
                await until(lambda: len(spans) == 4)
                assert len({span.span.trace_id for span in spans}) == 1, "those of before were not kept"
            many = len(frames)
            assert many
            for _ in range(3):
                await workflow(runtime)
            await asyncio.sleep(0.2)
            assert len(frames) == many
            assert len(spans) == 4

    run(main)


class Talkative(ServiceAgent):
    """Ends as many spans as it is told to, some of them no good."""

    def info(self) -> AgentInfo:
        return AgentInfo("talkative", ("talk",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        from shoal.kernel.clock import RealClock
        from shoal.kernel.trace import in_span

        clock = RealClock()
        for number in range(payload["spans"]):
            with in_span(clock, "small", attributes={"number": number, "instance": "another"}):
                pass
        for attributes in ({"what": object()}, {"what": "x" * 100_000}):
            with in_span(clock, "wrong", attributes=attributes):
                pass
        return {}


def dropped(runtime: Any) -> float:
    number: float = runtime.services.node.env.numbers.counters["agent_spans_dropped"]
    return number


def test_too_many_are_dropped_and_counted(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            agent = await runtime.services.start(Talkative, isolation="process")
            with listening() as spans:
                await runtime.services.request(agent, {"spans": 700})
                await until(lambda: len(spans) == 701)
                assert dropped(runtime) == 2
                assert {span.attributes["instance"] for span in spans} == {agent.instance}
                spans.clear()
                await runtime.services.request(agent, {"spans": 5000})
                await until(lambda: len(spans) == 1000)
                await until(lambda: dropped(runtime) == 2 + 4000 + 3)

    run(main)


class Pooled(ServiceAgent):
    """Looks at the trace in threads and processes."""

    def info(self) -> AgentInfo:
        return AgentInfo("pooled", ("pool",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        here = seen_trace()
        pool = Pool("p", kind=payload["kind"], min_size=0, max_size=1, max_queue=2)
        try:
            found = await asyncio.gather(*(pool.run(seen_trace) for _ in range(2)))
        finally:
            await pool.close(1.0)
        return {"here": here, "there": found}


def seen_trace() -> str | None:
    from shoal.kernel.trace import current_span

    span = current_span.get()
    return None if span is None else span.traceparent


@pytest.mark.parametrize("kind", ["thread", "process"])
@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_work_of_pools_sees_the_trace(store_url: str, run: Any, isolation: Any, kind: str) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            await runtime.services.start(Pooled, isolation=isolation)
            with in_span(RealClock(), "whole") as whole:
                answer = await runtime.services.request("pooled", {"kind": kind})
            assert answer["there"] == [answer["here"]] * 2
            assert answer["here"].split("-")[1] == whole.trace_id

    run(main)


class Writer(ServiceAgent):
    """Logs, and submits a task, within its request."""

    def info(self) -> AgentInfo:
        return AgentInfo("writer", ("write",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        from shoal.kernel.trace import current_span
        from shoal.observe.log import configure_logging

        lines = StringIO()
        configure_logging(json=True, stream=lines)
        self.logger.info("at work")
        trace = current_span.get()
        assert trace is not None
        return {"line": json.loads(lines.getvalue()), "trace": trace.trace_id, "span": trace.span_id}


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_logs_name_the_trace_wherever_they_are_written(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            await runtime.services.start(Writer, isolation=isolation)
            answer = await runtime.services.request("writer", {})
            assert (answer["line"]["trace_id"], answer["line"]["span_id"]) == (answer["trace"], answer["span"])

    try:
        run(main)
    finally:
        logger = logging.getLogger("shoal")
        for handler in list(logger.handlers):
            logger.removeHandler(handler)


class Submitter(ServiceAgent):
    """Submits a task within its request."""

    def info(self) -> AgentInfo:
        return AgentInfo("submitter", ("submit",))

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        assert self.header is not None
        task_id = await self.context.submit_task("later", {}, agent=self.context.name)
        return {"task": task_id, "trace": self.header.trace_id, "span": self.header.span_id}


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_events_name_the_trace_that_led_to_them_and_no_other(store_url: str, run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            services = runtime.services
            with in_span(RealClock(), "start") as start:
                agent = await services.start(Submitter, isolation=isolation)
                answer = await services.request(agent, {})
                other = await services.request(agent, {})
            await services.stop(agent.instance)
        async with running(store_url, limits=UNLIMITED) as runtime:
            traced = {}
            for event in runtime.store.events.scan(EventFilter()):
                traced[event.event_type, event.task_id] = (
                    event.details.get("trace_id"), event.details.get("span_id"),
                )  # fmt: skip
        for each in (answer, other):
            assert traced["task_enqueued", each["task"]] == (each["trace"], each["span"])
        assert answer["span"] != other["span"]
        assert traced["agent_started", None] == (start.trace_id, start.span_id)
        assert traced["agent_stopped", None] == (None, None)
        assert {ids for (kind, _), ids in traced.items() if kind.startswith("runtime")} == {(None, None)}

    run(main)


def test_a_trace_from_outside_goes_on_in_a_child(store_url: str, run: Any) -> None:
    async def main() -> None:
        async with registry(store_url, tokens=TOKENS) as (runtime, http):
            agent = await runtime.services.start(Step, {"name": "extract"}, "process")
            ids = {"workflow_id": "w", "document_id": "d", "left": []}
            outside = Span("a" * 32, "b" * 16)
            with listening() as spans:
                answer = await http.post(
                    f"/agents/{agent.uuid}/request",
                    json={"payload": ids},
                    headers={"traceparent": outside.traceparent, **as_("rules-1")},
                )
                assert answer.status_code == 200, answer.text
                await until(lambda: len(spans) == 2)
            (seen,) = answer.json()["seen"]
            face, step = sorted(spans, key=lambda span: span.name)
            assert (face.name, face.span.trace_id, face.span.parent_span_id) == ("http request", "a" * 32, "b" * 16)
            assert answer.headers["traceparent"] == face.span.traceparent
            assert step.span == Span("a" * 32, seen["span"], face.span.span_id)

    run(main)


def test_what_comes_later_belongs_to_no_trace_of_before(store_url: str, run: Any) -> None:
    class Plain:
        async def on_message(self, message: Any) -> dict[str, Any]:
            return {"trace": seen_trace()}

    async def main() -> None:
        async with running(store_url, limits=UNLIMITED) as runtime:
            await runtime.register_agent("plain", Plain)
            with in_span(RealClock(), "start"):
                await runtime.start_agent("plain")
                agent = await runtime.services.start(Submitter, isolation="process")
                await runtime.services.request(agent, {})
            assert (await runtime.request("plain", "ask", {})).data == {"trace": None}
            assert agent.pid is not None
            os.kill(agent.pid, signal.SIGKILL)

            def kinds() -> list[Any]:
                return list(runtime.store.events.scan(EventFilter(agent_id=agent.uuid)))

            await until(lambda: [each.event_type for each in kinds()].count("agent_started") == 2)
            later = [each for each in kinds() if each.event_type in ("agent_failed", "agent_restarted")]
            again = [each for each in kinds() if each.event_type == "agent_started"][1]
            assert {each.details.get("trace_id") for each in (*later, again)} == {None}

    run(main)
