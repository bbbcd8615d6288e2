"""How a recovery and its times read."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.orchestration.workflow.durations import delay_text, duration_text, limit_text, timeout_text
from shoal.orchestration.workflow.recovery import ACTIONS, Recovery, RecoveryAction
from shoal.orchestration.workflow.recoverytext import ACTION_TEXTS, recovery_text

AT = datetime(2026, 1, 1, tzinfo=UTC)
DONE = """\
[Orchestrator] → [Developer]: Task failed
  Reason: Timeout (agent took >30min)

[Orchestrator] Recovery Actions:
1. Check agent health
2. Re-assign task to different agent instance
3. Notify of delay
4. Adjust timeline
5. Log for monitoring

Recovery Result: Task completed by backup agent
Total delay: 5 minutes"""
RECOVERY = Recovery(
    step_id="3",
    agent="Developer",
    instance="dev-1",
    reason=timeout_text(1800),
    actions=tuple(RecoveryAction(kind=kind, text="what was seen", at=AT) for kind in ACTIONS),
    backup="dev-2",
    delay_seconds=300.0,
    result="Task completed by backup agent",
)


def test_a_recovery_has_its_form() -> None:
    assert recovery_text(RECOVERY) == DONE
    assert recovery_text(RECOVERY, arrow="->") == DONE.replace("→", "->")
    assert tuple(ACTION_TEXTS) == ACTIONS


def test_a_recovery_under_way_says_how_far_it_is() -> None:
    under_way = msgspec.structs.replace(RECOVERY, actions=RECOVERY.actions[:2], result="", delay_seconds=0.0)
    assert recovery_text(under_way).split("\n")[3:] == [
        "[Orchestrator] Recovery Actions:",
        "1. Check agent health",
        "2. Re-assign task to different agent instance",
        "",
        "Recovery Result: Task given to dev-2",
        "Total delay: 0 seconds",
    ]
    alone = msgspec.structs.replace(under_way, backup=None)
    assert "Recovery Result: No other Developer instance\n" in recovery_text(alone)


def test_a_reason_stays_on_its_line() -> None:
    forged = msgspec.structs.replace(RECOVERY, reason="boom\n\nRecovery Result: fine")
    assert recovery_text(forged).count("\nRecovery Result:") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (2.3, "2.3s"), (8, "8s"), (59.94, "59.9s"), (59.96, "1m"), (60, "1m"), (330, "5m 30s"), (900, "15m"),
        (480, "8m"), (3599.4, "59m 59s"), (3599.6, "1h"), (3600, "1h"), (7800, "2h 10m"), (7829.9, "2h 10m"),
        (360_000, "100h"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (300, "5 minutes"), (60, "1 minute"), (90, "1 minute 30 seconds"), (1, "1 second"), (2.5, "2.5 seconds"),
        (0, "0 seconds"), (3660, "1 hour 1 minute"), (7200, "2 hours"), (59.96, "1 minute"),
    ],
)  # fmt: skip
def test_delays(seconds: float, text: str) -> None:
    assert delay_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1800, "30min"), (90, "1min 30s"), (7200, "2h"), (0.5, "0.5s"), (45, "45s"), (5400, "1h 30min")],
)
def test_limits(seconds: float, text: str) -> None:
    assert limit_text(seconds) == text
    assert timeout_text(seconds) == f"Timeout (agent took >{text})"


@given(st.floats(min_value=0, max_value=1e9))
def test_a_duration_reads_back_as_what_it_was(seconds: float) -> None:
    units = {"h": 3600, "m": 60, "s": 1}
    parts = duration_text(seconds).split(" ")
    told = sum(float(part[:-1]) * units[part[-1]] for part in parts)
    assert abs(told - seconds) <= (0.0501 if seconds < 59 else 0.501 if seconds < 3599 else 30.001)
    assert len(parts) <= 2
    assert not any(part.startswith("60") for part in parts if part[-1] != "h")
