"""What ``shoal up`` says of an instance: one line for each thing that has happened to it."""

from __future__ import annotations

from typing import Any

import pytest

from shoal.cli.crew import Member
from shoal.cli.upview import Lines, changes
from shoal.services import ServiceAgent
from shoal.services.processes import ProcessInfo


def member(state: str = "running", name: str = "w_0", **more: object) -> Member:
    given = {"pid": 7, "restarts": 0, "options": {}, "started_at": None} | more
    info = ProcessInfo(name=name, agent_class=ServiceAgent, state=state, **given)  # type: ignore[arg-type]
    return Member(table="w", info=info)


DEAD: dict[str, Any] = {"pid": None, "exit_code": -9, "last_error": "Agent 'w_0' died (exit code -9)"}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (None, member("starting", pid=None), []),
        (None, member(), ["runs  pid 7"]),
        (member("starting"), member(pid=None), ["runs"]),
        (member(), member(), []),
        (member(), member("failed", comes_back=True, **DEAD), ["died (signal 9); it is started again"]),
        (member("failed", comes_back=True, **DEAD), member("failed", comes_back=True, **DEAD), []),
        (member("failed", comes_back=True, **DEAD), member("starting", restarts=1), []),
        (member("starting", restarts=1), member(pid=8, restarts=1), ["runs again  pid 8  restart 1"]),
        (member("failed", comes_back=True, **DEAD), member(pid=8, restarts=1), ["runs again  pid 8  restart 1"]),
        (
            member(),
            member(pid=8, restarts=1, exit_code=-9, last_error="x"),
            ["died (signal 9)", "runs again  pid 8  restart 1"],
        ),
        (
            member("failed", comes_back=True, **DEAD),
            member("failed", pid=None, exit_code=3, last_error="it died\nTraceback\nthe disk is on fire"),
            ["died (exit code 3): the disk is on fire; it is not started again"],
        ),
        (member(), member("failed", last_error="no good"), ["no good; it is not started again"]),
        (member(), member("paused"), ["is paused"]),
        (member("paused"), member(), ["goes on"]),
        (member(), member("stopping"), ["ends"]),
    ],
)
def test_what_has_happened(before: Member | None, now: Member, said: list[str]) -> None:
    assert changes(before, now) == said


def test_lines_are_made_visible_and_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    nasty = member(name="w\x1b[31m_0")
    for there in ([nasty], [nasty], []):
        lines.show(there)
    lines.ready(1)
    assert capsys.readouterr().out.splitlines() == [
        "w\\x1b[31m_0  runs  pid 7",
        "w\\x1b[31m_0  has ended",
        "ready: 1 service; Ctrl-C ends",
    ]
