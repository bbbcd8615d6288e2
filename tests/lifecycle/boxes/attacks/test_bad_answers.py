"""Nothing that a box says is run, unpickled or taken for a greeting."""

from __future__ import annotations

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report, places

pytestmark = pytest.mark.spec("B40")

WITHIN = 3.0 + 2.0  # start_timeout and a second, on a busy machine


BESIDE = [("this user", "process"), *(("another user", level) for level in ("process", "bubblewrap", "gvisor"))]


@pytest.fixture(params=places(("bubblewrap", "gvisor"), long=BESIDE))
def report(request: pytest.FixtureRequest, attacked: Attacked) -> Report:
    return attacked(request.param, "answering")


@pytest.mark.spec("B29")
def test_frames_before_hello_and_none_at_all(report: Report) -> None:
    found = report["greetings"]
    assert found.keys() == {"junk", "early", "version", "deep", "dies", "odd", "silent"}
    for name, (phase, text, seconds, _) in found.items():
        assert phase == "hello" and seconds < WITHIN, (name, text, seconds)
    assert "protocol" in found["junk"][1] and "protocol" in found["early"][1] and "99" in found["version"][1]
    assert "exit code 7" in found["dies"][1] and "no such luck" in found["dies"][3]
    assert "no hello within" in found["silent"][1]


def test_nothing_is_unpickled(report: Report) -> None:
    found = report["pickles"]
    assert found == {
        "object": "PayloadError",
        "error": "RequestFailedError",
        "text": "said str",
        "result": [0, None],
        "sprung": False,
    }


def test_others_go_on(report: Report) -> None:
    assert (report["witness"], report["faults"], report["left"]) == ("host", [], [])
