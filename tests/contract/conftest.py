"""Every contract test of the runtime runs on each backend."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new store: a real file, then one in memory."""
    return f"sqlite:///{tmp_path / 'shoal.db'}" if request.param == "file" else "sqlite://:memory:"
