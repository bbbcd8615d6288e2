"""Prometheus text: every key, counters as counters, histograms, agents' own numbers; and what happens without the extra."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from shoal.errors import MissingExtraError
from shoal.kernel.numbers import BOUNDS, Numbers
from shoal.observe.prometheus import prometheus_text
from shoal.runtime import AgentRuntime, Task


def parsed(text: str) -> dict[str, Metric]:
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    return {family.name: family for family in families}


def values(family: Metric) -> dict[str, float]:
    return {sample.name + str(sample.labels.get("le", "")): sample.value for sample in family.samples}


def test_a_buckets_bound_is_included_and_all_is_cumulative() -> None:
    numbers = Numbers()
    for value in (0.0, 0.001, 0.0011, 10_000.0, 10_000.5):
        numbers.observe("task_duration_seconds", value)
    found = values(parsed(prometheus_text({}, numbers))["shoal_task_duration_seconds"])
    bucket = "shoal_task_duration_seconds_bucket"
    assert found[f"{bucket}0.001"] == 2 and found[f"{bucket}0.0025"] == 3
    assert found[f"{bucket}10000.0"] == 4 and found[f"{bucket}+Inf"] == 5
    assert found["shoal_task_duration_seconds_count"] == 5
    assert found["shoal_task_duration_seconds_sum"] == pytest.approx(20_000.5021)
    assert list(BOUNDS) == sorted(BOUNDS)


def test_message_times_are_told_in_seconds() -> None:
    numbers = Numbers()
    numbers.observe("message_latency_ms", 2.0)
    found = values(parsed(prometheus_text({}, numbers))["shoal_message_latency_seconds"])
    assert found["shoal_message_latency_seconds_bucket0.001"] == 0
    assert found["shoal_message_latency_seconds_bucket0.0025"] == 1
    assert found["shoal_message_latency_seconds_sum"] == pytest.approx(0.002)


def test_agents_names_never_make_the_text_unreadable() -> None:
    numbers = Numbers()
    for name in ("a-b", "a b", "a_b", "a_b_total", 'q"\n{x="y"} 1\nz'):
        numbers.count(f"agent_{name}", 2)
        numbers.observe(f"agent_{name}", 1.5)
    families = parsed(prometheus_text({"completed_tasks": 3}, numbers))
    own = [family for name, family in families.items() if name.startswith("shoal_agent_")]
    assert len([family for family in own if family.type == "counter"]) == 5
    assert len([family for family in own if family.type == "histogram"]) == 5


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match="monitoring") as caught:
        prometheus_text({}, Numbers())
    assert caught.value.extra == "monitoring"


def test_a_runtime_tells_every_metric_it_has(tmp_path: Path) -> None:
    async def work(task: Task) -> int:
        return 1

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            await runtime.register_agent("worker", work)
            await runtime.start_agent("worker")
            await runtime.wait_for_tasks([await runtime.submit_task("t") for _ in range(3)])
            metrics = runtime.get_metrics()
            families = parsed(runtime.export_prometheus_metrics())
        assert metrics["completed_tasks"] == 3
        for key, value in metrics.items():
            family = families[f"shoal_{key}"]
            if family.type == "counter":
                assert values(family) == {f"shoal_{key}_total": value}
        assert {name for name, family in families.items() if family.type == "counter"} == {
            f"shoal_{key}"
            for key in (
                "total_tasks", "completed_tasks", "failed_tasks", "messages_sent", "retried_tasks",
                "abandoned_attempts", "dead_letters", "late_replies",
            )
        }  # fmt: skip
        for name in ("task_duration_seconds", "queue_wait_seconds"):
            assert values(families[f"shoal_{name}"])[f"shoal_{name}_count"] == 3
            assert 0 < values(families[f"shoal_{name}"])[f"shoal_{name}_sum"] < 60

    asyncio.run(main())


def test_the_age_of_the_oldest_ready_task_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            await runtime.submit_task("later", delay_seconds=3600)
            assert runtime.get_metrics()["oldest_ready_task_seconds"] == 0
            first = await runtime.submit_task("first", priority=100)
            stored = runtime.store.clock.now()
            await runtime.submit_task("second", priority=0)
            created = runtime.get_task_status(first).created_at
            before = runtime.store.clock.now()
            age = runtime.get_metrics()["oldest_ready_task_seconds"]
            assert (before - stored).total_seconds() <= age <= (runtime.store.clock.now() - created).total_seconds()
            told = parsed(runtime.export_prometheus_metrics())["shoal_oldest_ready_task_seconds"]
            assert told.type == "gauge" and told.samples[0].value >= age
            assert told.documentation.startswith("Seconds for which the oldest ready task")

    asyncio.run(main())
