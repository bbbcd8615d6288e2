"""The SQLite store keeps the contract for tasks, steps and leases: in a file, in memory, and written inline."""

from __future__ import annotations

from pathlib import Path

import pytest

from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing.store_dependencies import DependenciesContract
from shoal.testing.store_leases import JournalContract, LeasesContract
from shoal.testing.store_queue import QueueContract
from shoal.testing.store_tasks import TasksContract
from shoal.testing.store_together import TogetherContract


@pytest.fixture(params=["file", "memory", "inline"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = "sqlite://:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/shoal.db"
    return open_store(url, inline=request.param == "inline")


class TestQueue(QueueContract):
    pass


class TestTasks(TasksContract):
    pass


class TestTogether(TogetherContract):
    pass


class TestDependencies(DependenciesContract):
    pass


class TestJournal(JournalContract):
    pass


class TestLeases(LeasesContract):
    pass
