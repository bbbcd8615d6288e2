"""Every contract test of the runtime runs on each backend."""

from __future__ import annotations

import pytest

from tests.support.backend import on_cluster


@pytest.fixture(params=["cluster"] if on_cluster() else ["file", "memory"])
def url(request: pytest.FixtureRequest, store_url: str) -> str:
    """The URL of a new store: a real file, then one in memory; or one in PostgreSQL."""
    return "sqlite://:memory:" if request.param == "memory" else store_url
