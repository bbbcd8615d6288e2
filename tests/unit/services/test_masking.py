"""What others see of a service's configuration: no password, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.services.masking import masked


@pytest.mark.parametrize(
    ("key", "value", "seen"),
    [
        ("password", "hidden", "***"),
        ("auth", ["me", "hidden"], "***"),
        ("basic_auth", "hidden", "***"),
        ("Authorization", "Bearer hidden", "***"),
        ("db_dsn", "hidden", "***"),
        ("author", "Ann", "Ann"),
        ("url", "postgresql://me:hidden@db/x", "postgresql://me:***@db/x"),
        ("url", "redis://:hidden@db/0", "redis://:***@db/0"),
        ("bus", "nats://hidden@one:4222", "nats://***@one:4222"),
        ("hook", "https://host/x?n=1&access_token=hidden&m=2", "https://host/x?n=1&access_token=***&m=2"),
        ("db", "host=db user=me password=hidden", "host=db user=me password=***"),
        (
            "urls",
            ["https://me:hidden@one/", {"again": "https://me:hidden@two/"}],
            ["https://me:***@one/", {"again": "https://me:***@two/"}],
        ),
        ("home", "https://one/x?n=1", "https://one/x?n=1"),
        ("factor", 2, 2),
    ],
)
def test_what_is_seen(key: str, value: Any, seen: Any) -> None:
    assert masked({key: value}) == {key: seen}
