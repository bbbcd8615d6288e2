"""Runs are kept alike: in memory without a runtime, in SQLite's memory, in its file, and written inline."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shoal.kernel.journal import MemoryRuns
from shoal.kernel.ports import Store
from shoal.store import open_store
from shoal.testing import store_suite


async def _nothing(*given: Any, now: datetime | None = None) -> None:
    """There is nothing to open and no node to join."""


@pytest.fixture(params=["dict", "file", "memory", "inline"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "dict":
        runs = SimpleNamespace(runs=MemoryRuns(), leases=SimpleNamespace(join=_nothing), open=_nothing, close=_nothing)
        return cast(Store, runs)
    url = "sqlite://:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/shoal.db"
    return open_store(url, inline=request.param == "inline")


class TestRunWriter(store_suite.RunWriterContract):
    pass


class TestRunBudgets(store_suite.RunBudgetsContract):
    pass


@pytest.mark.parametrize("store", ["file", "memory", "inline"], indirect=True)
class TestRunStore(store_suite.RunStoreContract):
    pass
