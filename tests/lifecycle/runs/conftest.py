"""What stands under the tests of runs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def stores(backend: None) -> None:
    """They all open theirs by ``store_at``."""
