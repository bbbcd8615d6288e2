"""A box that misuses its own channel hurts itself; nobody else notices. As root and not as root."""

from __future__ import annotations

import os

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report, places

pytestmark = pytest.mark.spec("B40")

VIOLATIONS = (
    "junk",
    "long",
    "half",
    "deep",
    "deep_field",
    "bad_utf8",
    "unknown_type",
    "no_type",
    "wrong_fields",
    "other_kind",
    "second_hello",
    "stray_stream",
    "reused_id",
    "huge_id",
    "huge_handled",
    "exit_deep",
    "exit_bad_utf8",
    "exit_digits",
    "exit_huge_code",
    "many_subscriptions",
)
ENDS = {
    "closes": (-9, "signal 9"),
    "says_exit": (-9, "signal 9"),
    "forks_and_leaves": (5, "exit"),
    "leaves": (3, "exit"),
    "crashes": (-11, "signal 11"),
    "kills_itself": (-9, "signal 9"),
}
LIVE = ("foreign_answers", "forged_sender", "digits_to_host", "odd_timeouts", "long_names", "long_log_streams")
MEMORY_MIB = 80
DEATH = 4.0  # seconds; a lone machine takes one, two where the box stays after its exit
EMULATED_DEATH = 20.0  # of four machines at once that share two processors


WHOLE = ("this user", "bubblewrap")
BESIDE = [("another user", "gvisor"), ("this user", "microvm")]


@pytest.fixture(params=places(("process", "bubblewrap", "gvisor"), ("process", "bubblewrap"), long=BESIDE))
def report(request: pytest.FixtureRequest, attacked: Attacked) -> Report:
    # Frames are judged outside of the box: once is enough, and few where boxes are slow to start.
    whole = request.param == WHOLE or os.environ.get("SHOAL_LONG") == "full"
    found = attacked(request.param, "channel", *VIOLATIONS[: None if whole else 3], *ENDS, *LIVE)
    return {"death": EMULATED_DEATH if request.param[1] == "microvm" else DEATH, **found}


def unnoticed(found: Report) -> None:
    assert found["witness"] == ["host", 1] and found["grown"] < MEMORY_MIB, found


def test_what_is_no_frame_ends_the_box_that_sent_it(report: Report) -> None:
    for name in [name for name in VIOLATIONS if name in report]:
        found = report[name]
        assert found["reason"].startswith("protocol: ") and found["code"] == -9, (name, found)
        # Who asked after its end was seen hears that it does not run.
        assert found["heard"][0] and ("killed: protocol" in found["heard"][1] or "not running" in found["heard"][1])
        assert found["seconds"] < report["death"], (name, found)
        unnoticed(found)


@pytest.mark.parametrize("name", ENDS)
def test_every_end_is_told(report: Report, name: str) -> None:
    found = report[name]
    assert (found["code"], found["reason"]) == ENDS[name], found
    assert found["heard"][0] and found["seconds"] < report["death"], found
    unnoticed(found)


def test_nothing_of_them_is_left_and_no_error_is_lost(report: Report) -> None:
    assert report["left"] == [] and report["faults"] == []


def test_answers_of_others_are_counted_and_dropped(report: Report) -> None:
    found = report["foreign_answers"]
    right, deep, digits, odd = found["told"]
    assert right == "right" and found["late"] > 100 and found["state"] == "running", found
    assert deep[1].startswith("PayloadError") and digits[1].startswith("PayloadError"), found
    assert odd == [False, "RequestFailedError: x"], found
    unnoticed(found)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("forged_sender", ["forged_sender"]),
        ("digits_to_host", ["PayloadError", "PayloadError"]),
        ("odd_timeouts", ["ResponseTimeoutError", "ResponseTimeoutError"]),
        ("long_names", ["done"]),
        ("long_log_streams", ["done"]),
    ],
)
def test_odd_frames_gain_nothing(report: Report, name: str, told: list[str]) -> None:
    assert report[name]["told"] == told
    unnoticed(report[name])
