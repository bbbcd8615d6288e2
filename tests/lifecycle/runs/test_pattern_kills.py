"""Patterns of agents, killed at every step: what is recorded is never asked again, and costs are counted once."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.kernel.budget import Amount
from shoal.kernel.usage import Usage
from tests.lifecycle.runs.killing import without_times
from tests.lifecycle.runs.lives import Lives, account, journals, lives, model_calls, recorded
from tests.lifecycle.runs.thinking import COST_PICO, THINKING
from tests.support.backend import is_there

MOMENTS = ("before", "called", "recorded")
STEPS = {"debate": 10, "supervisor": 7, "team": 6, "nested": 20}
LEAST_STEPS = {"debate": 4, "supervisor": 6, "team": 6, "nested": 11}  # one after another, all who speak at once as one
CALLS = {"debate": 10, "supervisor": 7, "team": 5, "nested": 20}
PAIRS = [(name, step, when) for name in STEPS for step in range(1, STEPS[name] + 1) for when in MOMENTS]
SAMPLE = 8


@pytest.fixture(scope="module")
def start() -> Iterator[Lives]:
    with lives() as started:
        yield started


def live(
    start: Lives, folder: Path, name: str, kill: tuple[int, str] | None = None, budget: str = ""
) -> dict[str, Any] | None:
    """Live once, and check that nothing that was recorded is asked again, and nothing twice."""
    before, lines = recorded(folder, "r") if is_there(folder / "runs.db") else set(), sum(model_calls(folder).values())
    found = start.live(folder, name, "r", kill=kill, budget=budget)
    made = model_calls(folder, lines)
    assert not before & set(made), "a recorded call was made again"
    assert all(times == 1 for times in made.values())
    assert before <= recorded(folder, "r"), "something recorded is lost"
    return found


def check_end(start: Lives, folder: Path, name: str, undisturbed: dict[str, Any]) -> None:
    """Let the run end, and hold it to one that nobody killed; then ask for it again."""
    found = live(start, folder, name)
    assert found is not None and without_times(found) == without_times(undisturbed)
    assert len(recorded(folder, "r")) == CALLS[name] and set(model_calls(folder)) == recorded(folder, "r")
    (journal,) = journals(folder)
    assert (journal.run_id, journal.usage.cost_pico, journal.usage.lost_calls) == ("r", CALLS[name] * COST_PICO, 0)
    made = model_calls(folder)
    assert start.live(folder, name, "r") == found
    assert model_calls(folder) == made, "a finished run asks nobody"


def undisturbed_run(start: Lives, folder: Path, name: str) -> dict[str, Any]:
    alone = folder / "undisturbed"
    alone.mkdir()
    found = start.live(alone, name, "r")
    assert found is not None and found["result"].get("success", True)
    assert found["usage"]["cost_pico"] == CALLS[name] * COST_PICO == found["result"]["usage"]["cost_pico"]
    assert sum(model_calls(alone).values()) == CALLS[name]
    return found


@pytest.mark.spec("O26")
@pytest.mark.parametrize("name", THINKING)
def test_a_pattern_that_is_killed_before_and_after_every_call_and_record_in_one_run(
    start: Lives, tmp_path: Path, name: str
) -> None:
    undisturbed = undisturbed_run(start, tmp_path, name)
    struck = 0
    while live(start, tmp_path, name, (1, MOMENTS[struck % len(MOMENTS)])) is None:
        struck += 1  # of those who speak at once, quicker ones may be on record when the first one is
    assert struck >= len(MOMENTS) * LEAST_STEPS[name]
    check_end(start, tmp_path, name, undisturbed)


@pytest.mark.spec("O26")
@pytest.mark.long
def test_a_pattern_killed_once_at_any_step(start: Lives, tmp_path: Path, rounds: Callable[[int, int], int]) -> None:
    chosen = random.Random(26).sample(PAIRS, rounds(len(PAIRS), SAMPLE))
    undisturbed = {name: undisturbed_run(start, _folder(tmp_path, name), name) for name in THINKING}
    for name, step, when in chosen:
        folder = _folder(tmp_path, f"{name}-{step}-{when}")
        assert live(start, folder, name, (step, when)) is None, f"{name} has no step {step}"
        check_end(start, folder, name, undisturbed[name])


@pytest.mark.spec("O27")
@pytest.mark.long
def test_kills_at_random_points_of_nested_patterns_repeat_no_recorded_call(
    start: Lives, tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    chance = random.Random(2727)
    undisturbed = undisturbed_run(start, tmp_path, "nested")
    kills, struck = rounds(100, 6), 0
    for number in itertools.count():
        folder = _folder(tmp_path, f"run{number}")
        while struck < kills and live(start, folder, "nested", (chance.randint(1, 3), chance.choice(MOMENTS))) is None:
            struck += 1
        check_end(start, folder, "nested", undisturbed)
        if struck >= kills:
            return


def _folder(parent: Path, name: str) -> Path:
    folder = parent / name
    folder.mkdir()
    return folder


@pytest.mark.spec("O32")
def test_a_run_under_a_budget_that_is_killed_ten_times_spends_what_it_must_and_what_is_lost(
    start: Lives, tmp_path: Path
) -> None:
    chance = random.Random(32)
    undisturbed = undisturbed_run(start, tmp_path, "nested")
    budget = '{"max_cost": 1.0}'
    for _ in range(10):
        assert live(start, tmp_path, "nested", (chance.randint(1, 3), chance.choice(MOMENTS)), budget) is None
    found = live(start, tmp_path, "nested", budget=budget)
    assert found is not None
    usage = msgspec.convert(found["usage"], Usage)
    assert usage == msgspec.convert(found["result"]["usage"], Usage)
    lost = Usage(lost_calls=usage.lost_calls, lost_pico=usage.lost_pico)
    assert usage == msgspec.convert(undisturbed["usage"], Usage) + lost
    repeated = sum(model_calls(tmp_path).values()) - CALLS["nested"]
    assert 0 < repeated <= lost.lost_calls and repeated * COST_PICO <= lost.lost_pico
    (journal,) = journals(tmp_path)
    assert journal.usage == usage
    spent = account(tmp_path, "r")
    assert (spent.spent, spent.held) == (Amount.of(usage), Amount())
    assert (spent.lost.calls, spent.lost.cost_pico) == (lost.lost_calls, lost.lost_pico)
    assert without_times(_without_usage(found["result"])) == without_times(_without_usage(undisturbed["result"]))


def _without_usage(value: Any) -> Any:
    """Return a result without what was used: those that were killed have lost calls."""
    if isinstance(value, dict):
        return {key: _without_usage(inner) for key, inner in value.items() if key != "usage"}
    return [_without_usage(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.spec("O32")
def test_a_larger_budget_goes_on_and_pays_for_nothing_again(start: Lives, tmp_path: Path) -> None:
    undisturbed = undisturbed_run(start, tmp_path, "nested")
    for most in (2, 5, 9, 14):
        found = live(start, tmp_path, "nested", budget=f'{{"max_calls": {most}}}')
        assert found is not None and found["result"]["stopped"] == "budget"
        used = account(tmp_path, "r").used
        assert used.calls <= most and len(recorded(tmp_path, "r")) <= most
        made = model_calls(tmp_path)
        assert live(start, tmp_path, "nested", budget=f'{{"max_calls": {most}}}') is not None
        assert used.calls < most or model_calls(tmp_path) == made, "the same budget is spent"
    found = live(start, tmp_path, "nested", budget='{"max_calls": 100}')
    assert found is not None and found["result"].get("success", True)
    usage = msgspec.convert(found["usage"], Usage)
    assert (usage.calls, usage.cost_pico) == (CALLS["nested"], CALLS["nested"] * COST_PICO)
    assert without_times(_without_usage(found["result"])) == without_times(_without_usage(undisturbed["result"]))
