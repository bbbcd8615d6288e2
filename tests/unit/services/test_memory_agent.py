"""The service that looks after its memory."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from shoal.services.memory import MemoryAwareAgent, memory_mb


class Adder(MemoryAwareAgent):
    """Adds numbers; notes how it was given them."""

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.given: list[int] = []

    def info(self) -> dict[str, Any]:
        return {"name": "adder", "capabilities": ["sum"]}

    def process_small_data(self, data: Any) -> dict[str, Any]:
        self.given.append(len(data) if data is not None else -1)
        return {"sum": sum(data or ())}

    def process_chunk(self, chunk: list[Any], state: Any) -> Any:
        self.given.append(len(chunk))
        return (state or 0) + sum(chunk)

    def finish(self, state: Any) -> dict[str, Any]:
        return {"sum": state}


@pytest.mark.spec("S27")
def test_memory_is_checked_at_every_hundredth_request(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Adder()
    checked: list[int] = []

    def read() -> float:
        checked.append(len(agent.given) + 1)
        return 1.0

    monkeypatch.setattr(agent, "memory_mb", read)
    for _ in range(350):
        agent.process_request({"data": [1]})
    assert checked == [100, 200, 300]


@pytest.mark.spec("S27")
def test_over_the_limit_it_warns_collects_and_reads_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    agent = Adder({"memory_check_interval": 1, "memory_limit_mb": 500})
    readings = iter([500.0, 501.0, 400.0])
    monkeypatch.setattr(agent, "memory_mb", lambda: next(readings))
    collected: list[str] = []
    monkeypatch.setattr(gc, "collect", lambda: collected.append(caplog.text))
    agent.process_request({"data": [1]})
    assert (collected, caplog.text) == ([], ""), "the limit itself is allowed"
    agent.process_request({"data": [1]})
    (told_before,) = collected
    assert "High memory usage: 501 MB" in told_before
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "Memory after collection: 400 MB" in caplog.text


@pytest.mark.spec("S27")
def test_resident_memory_is_what_it_reads() -> None:
    before = memory_mb()
    taken = bytearray(64 << 20)
    for place in range(0, len(taken), 4096):
        taken[place] = 1
    grown = Adder().memory_mb() - before
    del taken
    assert 50 < grown < 80


@pytest.mark.spec("S27")
def test_what_is_too_large_is_taken_in_chunks() -> None:
    agent = Adder()
    assert agent.process_request({"data": list(range(10_000))}) == {"sum": sum(range(10_000))}
    assert agent.given == [10_000]
    agent.given.clear()
    assert agent.process_request({"data": list(range(10_001))}) == {"sum": sum(range(10_001))}
    assert agent.given == [1_000] * 10 + [1]
    agent.given.clear()
    assert agent.process(set(range(3))) == {"sum": 3}
    assert agent.process(iter(range(1_500))) == {"sum": sum(range(1_500))}, "what has no length is streamed"
    assert agent.process_request({}) == {"sum": 0}
    assert agent.given == [3, 1_000, 500, -1]


class Copier(Adder):
    """Makes something large of each item."""

    def process_small_data(self, data: Any) -> dict[str, Any]:
        return {"sum": sum(len(each) for each in [str(item) * 500 for item in data])}

    def process_chunk(self, chunk: list[Any], state: Any) -> Any:
        return (state or 0) + self.process_small_data(chunk)["sum"]


@pytest.mark.spec("S27")
def test_streaming_grows_by_less_than_a_fifth_of_loading_all() -> None:
    data = list(range(100_000, 110_001))

    def growth(agent: MemoryAwareAgent) -> tuple[int, Any]:
        tracemalloc.start()
        answer = agent.process_request({"data": data})
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, answer

    streamed, answer = growth(Copier())
    loaded, same = growth(Copier({"stream_threshold": 20_000}))
    assert answer == same
    assert streamed < loaded / 5


def test_config_changes_the_numbers_of_one_agent_only() -> None:
    agent = Adder({"chunk": 7, "stream_threshold": 10})
    agent.process_request({"data": list(range(20))})
    assert agent.given == [7, 7, 6]
    assert (Adder.chunk, Adder.stream_threshold, Adder().chunk) == (1_000, 10_000, 1_000)


@pytest.mark.parametrize("name", ["memory_check_interval", "memory_limit_mb", "stream_threshold", "chunk"])
@pytest.mark.parametrize("value", [0, -1, "many", True])
def test_bad_numbers_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive (whole )?number"):
        Adder({name: value})


@pytest.mark.parametrize("name", ["memory_check_interval", "stream_threshold", "chunk"])
def test_what_is_counted_is_whole(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a positive whole number"):
        Adder({name: 2.5})
    assert Adder({"memory_limit_mb": 2.5}).memory_limit_mb == 2.5


def test_an_iterator_is_consumed_piece_by_piece() -> None:
    agent = Adder({"chunk": 2})
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(5):
            taken.append(number)
            yield number

    seen = []
    agent.process_chunk = lambda chunk, state: seen.append(len(taken))  # type: ignore[method-assign]
    agent.finish = lambda state: {}  # type: ignore[method-assign]
    agent.process(items())
    assert seen == [2, 4, 5]
