"""A run that is killed goes on where it was: what is recorded is never done again, and costs are counted once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lifecycle.runs.killing import calls, carry_out, without_times


@pytest.mark.spec("O25")
@pytest.mark.parametrize("when", ["before", "called", "recorded"])
@pytest.mark.parametrize("step", range(1, 7))
def test_a_pipeline_killed_at_any_step_goes_on_and_calls_nothing_twice(tmp_path: Path, step: int, when: str) -> None:
    undisturbed = carry_out(tmp_path, "six", "undisturbed")
    (tmp_path / "calls.log").unlink()
    assert carry_out(tmp_path, "six", "killed", kill=(step, when)) is None
    assert sum(calls(tmp_path).values()) == step - (when == "before")
    assert without_times(carry_out(tmp_path, "six", "killed")) == without_times(undisturbed)
    once = Counter("abcdef")
    assert calls(tmp_path) == once + Counter("abcdef"[step - 1] if when == "called" else "")


@pytest.mark.spec("O27")
@pytest.mark.long
def test_kills_at_random_points_lose_nothing_and_repeat_at_most_one_call_each(
    tmp_path: Path, rounds: Callable[[int, int], int]
) -> None:
    chance = random.Random(27)
    kills = rounds(100, 6)
    undisturbed = carry_out(tmp_path, "long", "undisturbed")
    once = calls(tmp_path)
    (tmp_path / "calls.log").unlink()
    struck = 0
    while struck < kills:
        moment = chance.choice(["before", "called", "recorded"])
        assert carry_out(tmp_path, "long", "killed", kill=(chance.randint(1, 2), moment)) is None
        struck += 1
    assert without_times(carry_out(tmp_path, "long", "killed")) == without_times(undisturbed)
    assert sum(calls(tmp_path).values()) - sum(once.values()) <= kills
    done = calls(tmp_path)
    assert without_times(carry_out(tmp_path, "long", "killed")) == without_times(undisturbed)
    assert calls(tmp_path) == done  # a finished run calls nobody
