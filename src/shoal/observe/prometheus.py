"""A node's numbers as Prometheus text: every key of the metrics verb, histograms, and the agents' own numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from shoal.errors import MissingExtraError
from shoal.kernel.numbers import BOUNDS, Histogram, Numbers

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["prometheus_text"]

_PREFIX = "shoal_"
_COUNTERS = {
    "total_tasks": "Tasks submitted on this node since its start",
    "completed_tasks": "Tasks that completed on this node",
    "failed_tasks": "Tasks that failed on this node",
    "messages_sent": "Messages that agents of this node sent",
    "retried_tasks": "Attempts that failed and are tried again",
    "abandoned_attempts": "Attempts that did not end when they were told to, and were given up",
    "dead_letters": "Messages that could not be delivered",
    "late_replies": "Answers to requests whose askers had given up, which were dropped",
}
_GAUGES = {
    "uptime_seconds": "Seconds since the start of this node",
    "total_agents": "Agents registered on this node",
    "running_agents": "Agents alive on this node",
    "avg_task_duration_seconds": "Mean duration of the tasks that completed on this node",
    "p95_task_duration_seconds": "95th percentile of the durations of the newest completed tasks",
    "avg_message_latency_ms": "Mean milliseconds from a message's sending to its receiver taking it",
    "pending_tasks": "Tasks of the store that wait",
    "oldest_ready_task_seconds": "Seconds for which the oldest ready task of the store is ready; 0 when none is",
    "memory_mb": "Memory in use on this machine, or in its control group, in MB",
    "cpu_load": "Share of all cores in use, 0 to 1",
}
# The name in Numbers -> the name in the text, what divides a value to be in its unit, and the help.
_HISTOGRAMS = {
    "task_duration_seconds": ("task_duration_seconds", 1, "Durations of completed tasks"),
    "queue_wait_seconds": ("queue_wait_seconds", 1, "From submission or not_before to the first attempt"),
    "message_latency_ms": ("message_latency_seconds", 1000, "From a message's sending to its receiver taking it"),
}
_OWN = "agent_"  # what the numbers of agents' own code begin with


class _Families:
    """The metrics of one moment, in the form in which the Prometheus client collects them."""

    def __init__(self, metrics: Mapping[str, float], numbers: Numbers) -> None:
        self._metrics = metrics
        self._numbers = numbers
        self._taken: set[str] = set()

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self._taken = set()
        for key, value in self._metrics.items():
            name = self._name(key)
            if key in _COUNTERS:
                yield CounterMetricFamily(name, _COUNTERS[key], value=value)
            else:
                yield GaugeMetricFamily(name, _GAUGES.get(key, key), value=value)
        for key, (shown, divisor, text) in _HISTOGRAMS.items():
            yield _histogram(self._name(shown), text, self._numbers.histogram(key), divisor)
        for key in sorted(key for key in self._numbers.observed if key.startswith(_OWN)):
            yield _histogram(self._name(key), f"Observed by agents: {key}", self._numbers.histogram(key), 1)
        for key in sorted(key for key in list(self._numbers.counters) if key.startswith(_OWN)):
            value = self._numbers.counters[key]
            yield CounterMetricFamily(self._name(key), f"Counted by agents: {key}", value=value)

    def _name(self, key: str) -> str:
        """Return a name of the allowed letters that no other metric has: two would make the text unreadable."""
        plain = _PREFIX + re.sub(r"[^a-zA-Z0-9_]", "_", key).removesuffix("_total")
        name, number = plain, 1
        while name in self._taken:
            number += 1
            name = f"{plain}_{number}"
        self._taken.add(name)
        return name


def _histogram(name: str, text: str, histogram: Histogram, divisor: int) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(
        name, text, buckets=list(_cumulative(histogram.buckets, divisor)), sum_value=histogram.total / divisor
    )


def _cumulative(buckets: Iterable[int], divisor: int) -> Iterator[tuple[str, float]]:
    below = 0
    for bound, number in zip([*BOUNDS, None], buckets, strict=True):
        below += number
        yield "+Inf" if bound is None else repr(bound / divisor), float(below)


def prometheus_text(metrics: Mapping[str, float], numbers: Numbers) -> str:
    """Return *metrics* and the histograms of *numbers* in the Prometheus text format.

    Every key gets the prefix ``shoal_``; counters end in ``_total``, times are seconds in histograms. What agents
    count and observe themselves follows as ``shoal_agent_NAME``.

    Raises:
        MissingExtraError: the Prometheus client is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError as error:
        raise MissingExtraError("monitoring", "Prometheus text") from error
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(metrics, numbers))
    return generate_latest(registry).decode()
