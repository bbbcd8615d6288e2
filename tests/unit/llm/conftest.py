"""Places to keep locks in: a folder of its own, and open stores."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from shoal import LockManager, open_store
from tests.support.backend import on_cluster, store_at

Managed = Callable[[], AbstractAsyncContextManager[LockManager]]


@pytest.fixture(autouse=True)
def lock_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep locks on files in a folder of the test's own; return it. It is made by the first lock."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "shoal-locks"


@pytest.fixture(params=["store"] if on_cluster() else ["files", "store", "memory"])
def managed(request: pytest.FixtureRequest, tmp_path: Path, backend: None) -> Managed:
    """``async with managed() as manager``: a LockManager of files, of a store in a file, of a store in memory."""

    @asynccontextmanager
    async def manager() -> AsyncIterator[LockManager]:
        if request.param == "files":
            yield LockManager()
            return
        url = "sqlite://:memory:" if request.param == "memory" else store_at(tmp_path / "shoal.db")
        async with open_store(url) as store:
            yield LockManager(store)

    return manager
