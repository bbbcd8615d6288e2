"""The balancer over instances that answer in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shoal.errors import AgentDied, CircuitOpen, NotFound, RequestError, RequestTimeout
from shoal.services import codes
from shoal.services.balancer import KNOWN, LoadBalancer
from shoal.services.breaker import CircuitBreaker
from shoal.services.bulkhead import Bulkhead
from shoal.services.retrying import Outcome
from shoal.testing.clock import VirtualClock
from tests.support.instances import Crowd, Instance, in_virtual_time, records


def refusal(code: str = codes.DRAINING) -> Outcome:
    return Outcome(error=RequestError(code, "not now"))


async def callers(
    clock: VirtualClock, count: int, seconds: float, once: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Let *count* callers ask one request after the other for *seconds*."""

    async def one() -> None:
        while clock.monotonic() < seconds:
            await once()

    await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.spec("S13")
def test_three_workers_get_a_hundred_requests_each_and_the_numbers_add_up() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(f"w{n}", 0.01 + 0.01 * n) for n in range(3)))
        balancer = LoadBalancer(crowd)
        replies = await asyncio.gather(*(balancer.call("worker", {"n": n}, timeout=300) for n in range(300)))
        assert Counter(reply.record.instance for reply in replies) == {"w0": 100, "w1": 100, "w2": 100}
        assert all(
            reply.data == {"echo": {"n": n}, "by": replies[n].record.instance} for n, reply in enumerate(replies)
        )
        stats = balancer.stats
        assert sum(each.requests for each in stats.values()) == 300
        for each in stats.values():
            assert (each.requests, each.successes, each.failures, each.retried, each.in_flight) == (100, 100, 0, 0, 0)
        assert all(each.breaker == "closed" for each in stats.values())
        slow = stats["w2"]
        assert slow.p50_ms is not None and slow.p95_ms is not None
        assert (round(slow.p50_ms), round(slow.p95_ms)) == (1500, 2850), "the i-th waits i times 30 ms"

    in_virtual_time(main)


@pytest.mark.spec("S13")
def test_one_that_takes_nothing_is_made_up_for_by_the_others() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(name) for name in "abc"))
        crowd.instances["b"].fails = refusal
        balancer = LoadBalancer(crowd)
        replies = [await balancer.call("worker", {"n": n}) for n in range(300)]
        assert Counter(reply.record.instance for reply in replies) == {"a": 150, "c": 150}
        assert {reply.attempts for reply in replies} == {1, 2}
        numbers = balancer.stats["b"]
        assert (numbers.successes, numbers.failures, numbers.retried) == (0, numbers.requests, numbers.requests)
        assert numbers.breaker == "closed", "it is well, it only takes nothing"

    in_virtual_time(main)


def test_the_attempts_of_a_call_have_one_id_rising_numbers_and_the_time_that_is_left() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(name, 1.0) for name in "abcd"))
        died = Outcome(error=AgentDied("gone"), began=True)
        for name in "ab":
            crowd.instances[name].delayed_failure = died
        reply = await LoadBalancer(crowd).call("worker", {}, timeout=5, idempotent=True)
        assert (reply.attempts, reply.record.instance, reply.duration_ms) == (3, "c", 3000)
        attempts = [attempt for _, attempt in crowd.attempts]
        assert [attempt.number for attempt in attempts] == [1, 2, 3]
        assert [attempt.timeout for attempt in attempts] == [5, 4, 3]
        assert len({attempt.event_uuid for attempt in attempts}) == 1

    in_virtual_time(main)


def test_no_more_attempts_than_allowed_and_none_twice_at_one_instance() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(name) for name in "abcdef"))
        for instance in crowd.instances.values():
            instance.fails = refusal
        for retries, expected in ((0, 1), (2, 3), (50, 6)):
            crowd.attempts.clear()
            with pytest.raises(RequestError, match="DRAINING"):
                await LoadBalancer(crowd, retries=retries).call("worker", {})
            assert len(crowd.asked) == len(crowd.attempts) == expected

    in_virtual_time(main)


def test_what_may_have_run_is_not_sent_again_unless_that_does_no_harm() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"), Instance("b"))
        crowd.instances["a"].delayed_failure = Outcome(error=AgentDied("gone"), began=True)
        with pytest.raises(AgentDied):
            await LoadBalancer(crowd).call("worker", {})
        assert crowd.asked == {"a": 1}
        assert (await LoadBalancer(crowd).call("worker", {}, idempotent=True)).data["by"] == "b"

    in_virtual_time(main)


def test_an_agents_own_error_is_the_answer() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"), Instance("b"))
        crowd.instances["a"].delayed_failure = Outcome(error=NotFound("no such account"), own=True, began=True)
        with pytest.raises(NotFound, match="no such account"):
            await LoadBalancer(crowd).call("worker", {}, idempotent=True)
        assert crowd.asked == {"a": 1}

    in_virtual_time(main)


def test_a_time_out_takes_all_the_time_there_is() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a", 100), Instance("b", 100))
        with pytest.raises(RequestTimeout):
            await LoadBalancer(crowd).call("worker", {}, timeout=2, idempotent=True)
        assert clock.monotonic() == 2
        assert len(crowd.attempts) == 1
        with pytest.raises(RequestTimeout):
            await LoadBalancer(crowd).call("worker", {})
        assert clock.monotonic() == 32, "the agent's own time-out, when the call says none"

    in_virtual_time(main)


@pytest.mark.spec("S13")
def test_nobody_there_and_nobody_left() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock)
        with pytest.raises(RequestError) as none:
            await LoadBalancer(crowd).call("worker", {})
        assert str(none.value) == "NO_WORKERS: no instance is there for worker"
        with pytest.raises(RequestError) as left:
            LoadBalancer(crowd).pick(records("a", "b"), exclude=("a", "b"))
        assert left.value.code == "NO_WORKERS"

    in_virtual_time(main)


@pytest.mark.spec("S32")
def test_five_failures_open_an_instance_and_all_open_is_circuit_open() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"), Instance("b"))
        balancer = LoadBalancer(crowd, breaker=lambda: CircuitBreaker(recovery_timeout=30))
        broken = Outcome(error=RequestError(codes.EXECUTION_ERROR, "bug"), own=True, began=True)
        crowd.instances["a"].delayed_failure = broken
        for _ in range(10):
            try:
                await balancer.call("worker", {})
            except RequestError as error:
                assert error.code == "EXECUTION_ERROR"
        assert crowd.asked == {"a": 5, "b": 5}
        assert balancer.stats["a"].breaker == "open"
        for _ in range(10):
            assert (await balancer.call("worker", {})).data["by"] == "b"
        crowd.instances["b"].delayed_failure = broken
        for _ in range(5):
            with pytest.raises(RequestError, match="EXECUTION_ERROR"):
                await balancer.call("worker", {})
        sent = len(crowd.attempts)
        with pytest.raises(CircuitOpen) as refused:
            await balancer.call("worker", {})
        assert refused.value.code == "CIRCUIT_OPEN"
        assert len(crowd.attempts) == sent, "nothing was sent"

        await clock.sleep(30)
        crowd.instances["a"].delayed_failure = None
        crowd.attempts.clear()
        ends = await asyncio.gather(*(balancer.call("worker", {}) for _ in range(4)), return_exceptions=True)
        assert crowd.asked == {"a": 1, "b": 1}, "one trial each"
        assert sorted(getattr(end, "code", "answered") for end in ends) == [
            "CIRCUIT_OPEN", "CIRCUIT_OPEN", "EXECUTION_ERROR", "answered",
        ]  # fmt: skip
        assert balancer.stats["a"].breaker == "closed"
        assert balancer.stats["b"].breaker == "open"

    in_virtual_time(main)


def test_an_open_instance_costs_no_attempt() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"), Instance("b"))
        balancer = LoadBalancer(crowd, retries=0, breaker=lambda: CircuitBreaker(failure_threshold=1))
        crowd.instances["a"].delayed_failure = Outcome(error=AgentDied("gone"), began=True)
        with pytest.raises(AgentDied):
            await balancer.call("worker", {})
        assert {(await balancer.call("worker", {})).attempts for _ in range(10)} == {1}
        assert crowd.asked == {"a": 1, "b": 10}
        assert balancer.pick(records("a", "b")).instance == "b"

    in_virtual_time(main)


def test_without_breakers_everything_is_sent() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"))
        crowd.instances["a"].delayed_failure = Outcome(error=AgentDied("gone"), began=True)
        balancer = LoadBalancer(crowd, breaker=None)
        for _ in range(10):
            with pytest.raises(AgentDied):
                await balancer.call("worker", {})
        assert balancer.stats["a"].breaker is None
        assert balancer.stats["a"].failures == 10

    in_virtual_time(main)


def test_a_full_bulkhead_sends_the_request_elsewhere() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a", 10, concurrency=9), Instance("b", 10, concurrency=9))
        balancer = LoadBalancer(crowd, lambda among, key: among[0], bulkhead=lambda: Bulkhead(1, 1))
        calls = [asyncio.ensure_future(balancer.call("worker", {}, timeout=60)) for _ in range(5)]
        await clock.sleep(1)
        assert crowd.asked == {"a": 1, "b": 1}, "one more waits for each"
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [getattr(end, "code", "answered") for end in ends] == ["answered"] * 4 + ["BULKHEAD_FULL"]
        assert crowd.asked == {"a": 2, "b": 2}

        first = asyncio.ensure_future(balancer.call("worker", {}))
        begun = clock.monotonic()
        await clock.sleep(1)
        with pytest.raises(RequestTimeout, match="bulkhead"):
            await balancer.call("worker", {}, timeout=2)
        assert clock.monotonic() == begun + 3
        await first

    in_virtual_time(main)


@pytest.mark.spec("S17")
@pytest.mark.parametrize(("strategy", "share"), [("least_loaded", 0.2), ("power_of_two", 0.3)])
@pytest.mark.parametrize("workers", [3, 5])
@pytest.mark.parametrize("reports_load", [True, False])
def test_a_worker_ten_times_slower_gets_little(strategy: str, share: float, workers: int, reports_load: bool) -> None:
    async def main(clock: VirtualClock) -> None:
        slow = Instance("w0", 0.1)
        fast = [Instance(f"w{n}", 0.01) for n in range(1, workers)]
        crowd = Crowd(clock, slow, *fast, reports_load=reports_load)
        balancer = LoadBalancer(crowd, strategy, seed=7)
        await callers(clock, 4 * workers, 30, lambda: balancer.call("worker", {}))
        asked = crowd.asked
        assert sum(asked.values()) > 2000
        others = sum(asked[instance.name] for instance in fast) / len(fast)
        assert asked["w0"] < share * others, asked

    in_virtual_time(main)


def test_the_same_key_meets_the_same_instance_and_without_one_the_same_payload() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(f"w{n}", 0) for n in range(5)))
        balancer = LoadBalancer(crowd, "consistent_hash")
        by_key = {(await balancer.call("worker", {"n": n}, key="k")).record.instance for n in range(20)}
        assert len(by_key) == 1
        by_payload = [{(await balancer.call("worker", {"n": n})).record.instance for _ in range(3)} for n in range(20)]
        assert all(len(met) == 1 for met in by_payload)
        assert len(set.union(*by_payload)) > 1
        (owner,) = by_key
        crowd.instances[owner].fails = refusal
        other = await balancer.call("worker", {}, key="k")
        del crowd.instances[owner]
        assert (await balancer.call("worker", {}, key="k")).record.instance == other.record.instance

    in_virtual_time(main)


def test_a_worker_joins_and_one_drains_under_load() -> None:
    """S14 without the processes: nothing is lost, and the new one has traffic at once."""

    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, *(Instance(f"w{n}", 0.01, concurrency=4) for n in range(3)))
        balancer = LoadBalancer(crowd)
        replies: list[str] = []

        async def once() -> None:
            replies.append((await balancer.call("worker", {})).data["by"])

        async def change() -> None:
            await clock.sleep(1)
            crowd.instances["w1"].fails = refusal
            crowd.instances["w9"] = Instance("w9", 0.01, concurrency=4)
            await clock.sleep(0.1)
            assert "w9" in replies
            del crowd.instances["w1"]

        await asyncio.gather(callers(clock, 20, 5, once), change())
        assert len(replies) > 5000

    in_virtual_time(main, shuffle=True)


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a", 10))
        balancer = LoadBalancer(crowd, bulkhead=lambda: Bulkhead(1, 5))
        calls = [asyncio.ensure_future(balancer.call("worker", {})) for _ in range(3)]
        await clock.sleep(1)
        assert balancer.stats["a"].in_flight == 1
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        numbers = balancer.stats["a"]
        assert (numbers.in_flight, numbers.successes, numbers.breaker) == (0, 0, "closed")
        assert (await balancer.call("worker", {})).attempts == 1

    in_virtual_time(main)


def test_what_is_wrong_with_the_request_passes_and_counts_against_nobody() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"))

        async def ask(*_: Any) -> Outcome:
            raise TypeError("no JSON")

        crowd.ask_instance = ask  # type: ignore[assignment]
        balancer = LoadBalancer(crowd)
        for _ in range(6):
            with pytest.raises(TypeError, match="no JSON"):
                await balancer.call("worker", {})
        assert balancer.stats["a"].breaker == "closed"
        assert balancer.stats["a"].in_flight == 0

    in_virtual_time(main)


def test_only_so_many_instances_are_remembered() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock)
        balancer = LoadBalancer(crowd)
        for number in range(KNOWN + 50):
            crowd.instances = {f"w{number}": Instance(f"w{number}", 0)}
            await balancer.call("worker", {})
        assert len(balancer.stats) == KNOWN
        assert f"w{KNOWN + 49}" in balancer.stats

    in_virtual_time(main)


def test_bad_arguments_are_refused_at_the_call() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"))
        with pytest.raises(ValueError, match="retries must not be negative"):
            LoadBalancer(crowd, retries=-1)
        with pytest.raises(ValueError, match="strategy must be one of"):
            LoadBalancer(crowd, "fastest")
        for timeout in (0, -1):
            with pytest.raises(ValueError, match="timeout must be positive"):
                await LoadBalancer(crowd).call("worker", {}, timeout=timeout)
        assert crowd.attempts == []

    in_virtual_time(main)


def test_a_new_life_begins_with_a_closed_breaker() -> None:
    async def main(clock: VirtualClock) -> None:
        crowd = Crowd(clock, Instance("a"))
        balancer = LoadBalancer(crowd, retries=0)
        crowd.instances["a"].delayed_failure = Outcome(error=AgentDied("gone"), began=True)
        for _ in range(5):
            with pytest.raises(AgentDied):
                await balancer.call("worker", {})
        old = crowd.instances["a"].record
        with pytest.raises(CircuitOpen):
            balancer.pick([old])
        new = msgspec.structs.replace(old, started_at=old.registered_at + timedelta(seconds=1))
        assert balancer.pick([new]) is new
        assert balancer.stats["a"].breaker == "closed"
        for _ in range(5):
            with pytest.raises(AgentDied):
                await balancer.call("worker", {})
        with pytest.raises(CircuitOpen):
            balancer.pick([old])
        with pytest.raises(CircuitOpen):
            balancer.pick([new])

    in_virtual_time(main)
