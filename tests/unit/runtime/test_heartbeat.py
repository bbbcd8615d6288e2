"""A heartbeat that failed is tried again soon: a store that is there for short moments only keeps a node alive."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.errors import StoreError
from shoal.testing.clock import VirtualClock, run_virtual
from tests.support.runtimes import running

LEASE = 10.0
MOMENT = 0.07 * LEASE  # longer than from try to try, and much shorter than from beat to beat
EACH = 0.83 * LEASE  # moments begin: less than a lease, and no multiple of what is between two beats


def test_short_moments_are_enough(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def main(clock: VirtualClock) -> int:
        async with running("sqlite://:memory:", clock=clock, lease_seconds=LEASE) as runtime:
            env, leases = runtime.mail.env, runtime.store.leases
            beat, begun, beats = leases.heartbeat, clock.monotonic(), 0

            def now_and_then(*args: Any, **told: Any) -> bool:
                nonlocal beats
                if (clock.monotonic() - begun) % EACH < EACH - MOMENT:
                    raise StoreError("the store is away")
                beats += 1
                return beat(*args, **told)

            monkeypatch.setattr(leases, "heartbeat", now_and_then)
            while clock.monotonic() - begun < 30 * LEASE:
                await clock.sleep(0.1)
                assert not env.lease_over()
            return beats

    beats = run_virtual(main)
    assert beats >= 30
    told = [record for record in caplog.records if "the heartbeat of node" in record.message]
    assert len(told) <= beats + 1, "once in each series, not at each try"
