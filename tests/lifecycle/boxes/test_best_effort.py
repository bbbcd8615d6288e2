"""Limits that nothing on this machine holds: refused when they were asked for, told with ``best_effort``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from shoal import BoxLimits, BoxRuntime, BoxSpec
from shoal.errors import LimitUnavailableError
from tests.lifecycle.boxes.conftest import User

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
TEXT = "nothing holds tmp_mib=8 at level process on this machine"


@pytest.mark.spec("B37")
def test_what_is_asked_for_and_not_held_is_refused_or_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        told: list[Any] = []
        async with BoxRuntime("process", logs="none") as runtime:
            runtime.on_event("shoal.limit_unavailable")(told.append)
            with pytest.raises(LimitUnavailableError, match=TEXT):
                await runtime.create_box("strict", BoxSpec(limits=BoxLimits(tmp_mib=8)))
            assert runtime.list_boxes() == [] and told == []
            for name in ("first", "second"):
                box = await runtime.create_box(name, BoxSpec(limits=BoxLimits(tmp_mib=8, best_effort=True)))
                assert box.stats().limits["tmp_mib"] == "none"
            await runtime.create_box("plain")
        assert told == [{"box": "first", "warning": TEXT}], "once"

    with caplog.at_level(logging.WARNING, "shoal"):
        run(main)
    assert [record.getMessage() for record in caplog.records] == [TEXT]


@pytest.mark.spec("B37")
def test_every_user_hears_what_is_not_held(user: User) -> None:
    user.need("bubblewrap")
    told = user.ask("best_effort", "bubblewrap")
    if told["held"] == "none":
        assert [event["warning"] for event in told["events"]] == [
            "nothing holds cpus=0.5 at level bubblewrap on this machine"
        ]
    else:
        assert told["held"].startswith("cgroup") and told["events"] == []
