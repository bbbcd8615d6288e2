"""A box that floods slows itself; another pair goes on, and the host does not grow."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report, places

pytestmark = pytest.mark.alone
GUARD_MS = 10 * 5.0
SHARE = 20
GROWN_MIB = 80
FLOODS = ("frames", "unread", "publishes", "threads", "interpreter")
ANSWERS_MIB = 30  # of which 8 may wait, in a process that has many others
MAILBOX = 435  # messages of 10 kB in 4 MiB, and what the box may hold undone


# Who floods makes no difference, and without walls there are the same frames.
@pytest.fixture(params=places(("bubblewrap", "gvisor"), long=[("this user", "process")]))
def report(request: pytest.FixtureRequest, attacked: Attacked, rounds: Callable[[int, int], int]) -> Report:
    level = request.param[1]
    count = rounds(1_000_000, 20_000) // (10 if level == "gvisor" else 1)
    return {"level": level, "count": count, **attacked(request.param, "flooding", str(count))}


@pytest.mark.long
@pytest.mark.spec("B40", "B45")
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_slows_nobody_else(report: Report, name: str) -> None:
    found = report[name]
    # Where the kernels of the boxes themselves take all processors, the pair has its share of these.
    guard = max(GUARD_MS, SHARE * report["quiet"]["p95_ms"]) if report["level"] == "gvisor" else GUARD_MS
    print(
        f"\n{report['level']}, {report['count']} {name}: p95 {found['p95_ms']:.2f} ms, grown {found['grown']:.1f} MiB"
    )
    assert found["p95_ms"] < guard and found["grown"] < GROWN_MIB, (found, report["quiet"])


@pytest.mark.spec("B45")
def test_every_frame_of_the_flood_was_taken(report: Report) -> None:
    assert report["frames"]["published"] >= report["count"]


@pytest.mark.spec("B40")
@pytest.mark.parametrize("name", ["lines", "endless"])
def test_a_flood_of_lines_is_bounded(report: Report, name: str) -> None:
    found = report[name]
    assert found["p95_ms"] < 5 * GUARD_MS and found["grown"] < GROWN_MIB, (found, report["quiet"])


@pytest.mark.spec("B40")
def test_who_never_reads_has_a_full_mailbox(report: Report) -> None:
    found = report["silent"]
    assert found["full"] == "Mailbox of 'silent' is full (1000)" and found["taken"] <= MAILBOX + 10, found
    assert found["grown"] < GROWN_MIB and found["stopping"] < 2.0, found
    assert report["afterwards"]["p95_ms"] < GUARD_MS


@pytest.mark.spec("B40")
def test_who_never_reads_its_answers_is_not_waited_for(report: Report) -> None:
    found = report["answers"]
    assert found["outcomes"].count("ok") <= 10 and set(found["outcomes"]) == {"ok", "MailboxFullError"}, found
    assert len(found["outcomes"]) == 64 and found["other"] == "xxxxx"
    assert found["grown"] < ANSWERS_MIB, found


def test_who_reads_them_gets_them_all(report: Report) -> None:
    assert report["many answers"] == [1 << 20] * 20
