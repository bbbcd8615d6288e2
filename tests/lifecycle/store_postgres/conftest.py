"""What the tests of a store on a server share."""

from __future__ import annotations

import pytest

from shoal.cluster.process import free_port


@pytest.fixture
def unused_port() -> int:
    """A port on loopback at which nobody listens."""
    return free_port()
