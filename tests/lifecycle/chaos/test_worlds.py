"""What needs a world of its own: links that are pulled so that nobody hears anything, and a disk that is full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import msgspec
import pytest

from tests.lifecycle.chaos.cluster import SEED, SOAK_SECONDS
from tests.lifecycle.chaos.worlds import World, command, no_world
from tests.support.engines import fresh_folder
from tests.support.history import History

REASON = no_world()
pytestmark = [pytest.mark.long, pytest.mark.skipif(bool(REASON), reason=REASON)]


@pytest.mark.parametrize("harm", ["links are pulled", "disk is full"])
def test_a_world(rounds: Callable[[int, int], int], judge: Callable[[History], None], harm: str) -> None:
    folder = fresh_folder()
    folder.chmod(0o755)
    try:
        world = World(folder=str(folder), harm=harm, seed=SEED, rounds=rounds(20, 2))
        done = subprocess.run(command(world), timeout=SOAK_SECONDS)
        assert done.returncode == 0
        history = msgspec.json.decode((folder / "history.json").read_bytes(), type=History)
    finally:
        shutil.rmtree(folder)
    judge(history)
