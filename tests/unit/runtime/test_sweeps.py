"""What a sweep says of its failures: once for each reason, and that it works again."""

from __future__ import annotations

import pytest

from shoal.errors import StoreError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import running


def test_a_failure_is_told_once_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    passes: list[str] = ["away"] * 5 + ["starts up"] * 2 + [""] * 3 + ["away", ""]

    async def main(clock: VirtualClock) -> None:
        left = iter(passes)

        async def sweep() -> None:
            if why := next(left, ""):
                raise StoreError(why)

        async with running("sqlite://:memory:", clock=clock) as runtime:
            runtime.mail.env.every(0.25, sweep, "dust")
            await clock.sleep(60)

    run_virtual(main)
    assert [record.message for record in caplog.records if record.message.startswith("dust")] == [
        "dust failed: away; it is tried each 0.25 s",
        "dust failed: starts up; it is tried each 0.25 s",
        "dust works again",
        "dust failed: away; it is tried each 0.25 s",
        "dust works again",
    ]
    assert all(record.exc_info is None for record in caplog.records)
