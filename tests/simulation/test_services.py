"""Teams of services on several nodes in virtual time, through kills, joins, pauses, drains, cuts: promises are kept."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.testing.clock import VirtualClock
from tests.simulation.service_nodes import run_simulated
from tests.simulation.service_storm import Storm
from tests.simulation.service_world import World


def simulate(seed: int, folder: Path) -> World:
    """Live through what follows from *seed*, and check every promise."""
    shuffle = seed % 2 == 1

    async def main(clock: VirtualClock) -> World:
        world = World(seed, folder, clock, ordered=not shuffle)
        with world.history.recording():
            await Storm(world).run()
        left = sorted(task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task())
        if left:
            world.history.fault(f"asyncio tasks are left: {left}")
        world.history.check()
        return world

    return run_simulated(main, seed, shuffle=shuffle)


@pytest.mark.long
@pytest.mark.spec("S48")
@pytest.mark.parametrize("block", range(5))
def test_promises_hold_in_every_storm(tmp_path: Path, block: int, rounds: Callable[[int, int], int]) -> None:
    happened: Counter[str] = Counter()
    seeds = rounds(1000, 50)
    chosen = os.environ.get("SHOAL_TEST_SEED")
    for seed in [int(chosen)] if chosen else range(block * seeds // 5, (block + 1) * seeds // 5):
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            happened += simulate(seed, folder).happened
        except BaseException as error:
            error.add_note(f"seed {seed}: replay with SHOAL_TEST_SEED={seed}")
            raise
    print(dict(happened))
    assert chosen or happened["answer"] > sum(happened[code] for code in ("TIMEOUT", "AGENT_DIED", "NO_WORKERS"))
