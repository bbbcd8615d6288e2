"""``shoal.open_store``: a store for what takes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal import ConfigError, StoreError, UserContextStore, open_store


def test_awaited_it_is_open_until_it_is_closed(tmp_path: Path, run: Callable[..., Any]) -> None:
    async def main() -> None:
        store = await open_store(f"sqlite:///{tmp_path}/shoal.db", durability="normal")
        await UserContextStore(store).set("ann", {"a": 1})
        await store.close()
        async with open_store(f"sqlite:///{tmp_path}/shoal.db") as again:
            assert await UserContextStore(again).get("ann") == {"a": 1}
        with pytest.raises(StoreError, match="not open"):
            await UserContextStore(again).get("ann")

    run(main)


def test_what_cannot_be_opened(tmp_path: Path, run: Callable[..., Any]) -> None:
    for url, durability in (("shoal.db", "full"), ("sqlite:///", "full"), ("sqlite://:memory:", "none")):
        with pytest.raises(ConfigError):
            open_store(url, durability=durability)
    (tmp_path / "foreign").write_text("something else")

    async def main() -> None:
        with pytest.raises(StoreError):
            await open_store(f"sqlite:///{tmp_path}/foreign")
        assert (tmp_path / "foreign").read_text() == "something else"

    run(main)
