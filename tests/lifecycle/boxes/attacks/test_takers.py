"""A box that takes more than it may is refused, or dies and says of what; its siblings and the host go on."""

from __future__ import annotations

import os

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report, places

HOLDERS = {
    "memory_mib": {"cgroup1", "cgroup2", "sampling"},
    "pids": {"cgroup1", "cgroup2", "rlimit", "sampling"},
    "tmp_mib": {"tmpfs"},
    "open_files": {"rlimit"},
}
DIED = "Box 'eater' died (killed: memory limit 256 MiB)"
LEAST_SHARE = 0.15 if os.environ.get("SHOAL_LONG") == "full" else 0.1  # on a machine that others use, too
NOISE = 8  # processes of others that come meanwhile


BESIDE = [("another user", "process"), ("another user", "gvisor"), ("this user", "microvm")]


@pytest.fixture(params=places(("process", "bubblewrap", "gvisor"), ("bubblewrap",), long=BESIDE))
def report(request: pytest.FixtureRequest, attacked: Attacked) -> Report:
    return {"level": request.param[1], **attacked(request.param, "taking")}


@pytest.mark.spec("B37")
def test_the_stats_tell_what_holds_each_limit_and_what_is_taken(report: Report) -> None:
    limits = report["limits"]
    assert limits.keys() == HOLDERS.keys()
    loose = {"tmp_mib", "pids"} if report["level"] == "process" else set()
    of_level = {"vm"} if report["level"] == "microvm" else set()
    wrong = {
        name: by
        for name, by in limits.items()
        if by not in HOLDERS[name] | of_level and not (name in loose and by == "none")
    }
    assert wrong == {}
    pids, memory, peak = report["seen"]
    assert 1 <= pids < 8 and 5 < memory <= peak < (600 if of_level else 200)  # a machine is taken with its kernel


@pytest.mark.spec("B37", "B40")
def test_memory(report: Report) -> None:
    found = report["memory"]
    assert (found["heard"], found["reason"], found["code"]) == (DIED, "memory limit 256 MiB", -9), found
    assert report["command"]["reason"] == "memory limit 256 MiB", report["command"]


@pytest.mark.spec("B37", "B40")
def test_processes(report: Report) -> None:
    said, left = report["forks"]["said"], report["forks"]["left"]
    if said[0] == "DeadAgentError":
        assert report["level"] == "gvisor", said  # its own threads count as well: it may die of it whole
    elif report["limits"]["pids"] != "none":
        assert 236 <= int(said[0]) <= 256 and said[1] == "11", said  # beside those that are there
    assert left < NOISE


@pytest.mark.spec("B37", "B40")
def test_disk(report: Report) -> None:
    if report["level"] == "process":
        kind, text = report["disk"]
        assert kind == "LimitUnavailableError" and "tmp_mib=8" in text
    else:
        assert report["disk"] == {place: [64, "ENOSPC"] for place in ("/tmp/x", "/work/x")}


@pytest.mark.spec("B37")
def test_processor(report: Report) -> None:
    found = report["processor"]
    if "refused" in found:
        assert found["refused"] == "LimitUnavailableError" and not report["limits"]["memory_mib"].startswith("cgroup")
    else:
        assert LEAST_SHARE < found["share"] < 0.25 and found["held"].startswith("cgroup"), found


@pytest.mark.spec("B40")
def test_siblings_go_on(report: Report) -> None:
    assert report["sibling"] == ["here", "running"]
