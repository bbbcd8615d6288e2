"""What the tests of this run stand on."""

from __future__ import annotations

import os

__all__ = ["on_cluster"]


def on_cluster() -> bool:
    """Tell whether it is PostgreSQL and NATS instead of SQLite and the local bus (``SHOAL_TEST_BACKEND=cluster``)."""
    return os.environ.get("SHOAL_TEST_BACKEND") == "cluster"
