"""``kill -9`` again and again: nothing is lost, and at most what ran at that moment is executed again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, TaskStatus
from tests.support.backend import on_cluster
from tests.support.facts import all_events, check_story

SCRIPT = Path(__file__).with_name("kill_rounds.py")
SLOTS = 4

Run = Callable[..., Any]


def live_and_die(kind: str, url: str, effects: Path, kills: int, number: int) -> list[str]:
    """Run the lives and return the effects they left."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), kind, url, str(effects), str(kills), "47"],
        env={**os.environ, "NUMBER": str(number)},
        capture_output=True,
        text=True,
        timeout=max(100, kills),
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return effects.read_text().split()


@pytest.mark.long
@pytest.mark.spec("R47")
def test_no_task_is_lost_and_only_what_ran_is_executed_again(
    tmp_path: Path, store_url: str, run: Run, rounds: Callable[[int, int], int]
) -> None:
    kills = rounds(1000, 10 if on_cluster() else 100)
    number = 10 * kills
    executed = Counter(live_and_die("tasks", store_url, tmp_path / "effects", kills, number))

    async def main() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            tasks = runtime.store.tasks.search(limit=2 * number)
            assert len(tasks) == number
            assert {task.status for task in tasks} == {TaskStatus.COMPLETED}, "no task is lost"
            events = all_events(runtime)
            check_story(tasks, events)
            lost = Counter(event.node_id for event in events if event.event_type == "node_lost")
            assert sum(lost.values()) == kills and set(lost.values()) == {1}
            interrupted = [event for event in events if event.event_type == "task_interrupted"]
            at_a_kill = Counter(event.node_id for event in interrupted)
            assert max(at_a_kill.values()) <= SLOTS
            allowed = Counter(event.task_id for event in interrupted)
            assert set(executed) == {task.task_id for task in tasks}
            again = {task_id: times - 1 for task_id, times in executed.items() if times > 1}
            assert all(times <= allowed[task_id] for task_id, times in again.items())
            assert sum(again.values()) <= kills * SLOTS
            print(f"{kills} kills: {len(interrupted)} attempts interrupted, {sum(again.values())} executed again")

    run(main)


@pytest.mark.long
@pytest.mark.spec("R47")
def test_no_step_is_missing_and_one_a_kill_is_done_again(tmp_path: Path, store_url: str, run: Run) -> None:
    kills, number = 15, 300
    done = Counter(live_and_die("steps", store_url, tmp_path / "effects", kills, number))

    async def main() -> None:
        async with AgentRuntime(store=store_url) as runtime:
            (task,) = runtime.list_tasks()
            assert task.status is TaskStatus.COMPLETED
            assert task.output_data == sum(range(number))
            assert task.attempt == kills + 1
            check_story([task], all_events(runtime))
            assert set(done) == {str(n) for n in range(number)}, "no step is missing"
            assert sum(done.values()) - number <= kills
            print(f"{kills} kills: {sum(done.values()) - number} of {number} steps done again")

    run(main)
