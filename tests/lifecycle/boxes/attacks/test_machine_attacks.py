"""The attacks on the walls, in two machines that are booted once: what a machine changes is a kernel of its own."""

from __future__ import annotations

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report
from tests.lifecycle.boxes.attacks.machine import MEMORY_MIB, PIDS, ROOM_MIB
from tests.lifecycle.boxes.attacks.test_wall_attacks import OWN_KERNEL, REFUSED

pytestmark = pytest.mark.spec("B40")

DEATH = 4.0
GROWN_MIB = 80


@pytest.fixture
def report(attacked: Attacked) -> Report:
    return attacked(("this user", "microvm"), "machine")


def test_files_environment_and_processes_of_the_host_are_not_there(report: Report) -> None:
    assert (report["secret"], report["shadow"], report["environment"]) == ("ENOENT", "ENOENT", False)
    assert report["escapes"] == report["commands"] == [] and not report["environments"]
    assert report["secret afterwards"] == "secretsecret"
    for found in (report["host process"], report["other box"]):
        assert found["root"] == found["environ"] == "ENOENT", found
        assert {found[way] for way in ("kill", "attach", "seize", "memory")} == {"ESRCH"}, found
    assert report["other lives"] == "yes\n"


def test_sockets_of_the_host_are_out_of_reach(report: Report) -> None:
    inside = report["inside"]
    assert {inside["tcp"], report["tcp6"]} <= {"ECONNREFUSED", "ENETUNREACH", "EADDRNOTAVAIL"}
    assert (report["unix path"], inside["abstract"]) == ("ENOENT", "ECONNREFUSED")
    assert inside["families"]["vsock"] == "EAFNOSUPPORT"


def test_nothing_outside_of_its_rooms_can_be_written(report: Report) -> None:
    tried = {**report["written"], **report["inside"]["files"]}
    assert set(tried.values()) <= REFUSED, tried
    assert {report[name] for name in ("renamed", "read-only mount", "remade", "removed")} == {"EROFS"}


def test_its_calls_reach_its_own_kernel_and_give_no_rights(report: Report) -> None:
    calls = report["inside"]["calls"]
    for name in ("mount", "umount", "chroot", "mknod", "hostname", "setuid", "bpf"):
        assert calls[name] == "EPERM", calls
    assert calls["unshare"] == calls["clone"] == "ENOSPC", "there are no user namespaces"
    assert set(calls.values()) <= OWN_KERNEL | {"ENOSPC"}, calls
    assert set(report["inside"]["capabilities"].values()) == {"0" * 16}
    assert set(report["set-uid"]) <= {"refused", "absent"} and report["copy"] is True
    assert set(report["devices"]) <= {"kmsg", "mem", "vda"}, "its own"


@pytest.mark.spec("B37")
def test_it_is_held_to_its_limits(report: Report) -> None:
    assert report["limits"] == {"memory_mib": "vm", "pids": "vm", "tmp_mib": "vm", "open_files": "rlimit"}
    for mib, error in report["disk"].values():
        assert ROOM_MIB - 4 <= mib <= ROOM_MIB and error == "ENOSPC", report["disk"]
    count, error = map(int, report["forks"])
    assert PIDS - 15 <= count <= PIDS and error == 11, report["forks"]


def test_odd_frames_gain_nothing_and_wrong_ones_end_it(report: Report) -> None:
    found = report["channel"]
    refused = ["PayloadError", "PayloadError", "done", "ResponseTimeoutError", "ResponseTimeoutError"]
    assert found["told"] == ["a", *refused, "last"], found
    assert (found["code"], found["reason"]) == (-9, "protocol: request 5 is still open")
    assert found["seconds"] < DEATH and found["grown"] < GROWN_MIB and found["witness"] == ["host", 1]


@pytest.mark.spec("B37")
def test_too_much_memory_ends_it_and_nobody_else(report: Report) -> None:
    found = report["memory"]
    assert (found["code"], found["reason"]) == (-9, f"memory limit {MEMORY_MIB} MiB"), found
    assert f"killed: memory limit {MEMORY_MIB} MiB" in found["heard"] and found["witness"] == ["host", 1]


def test_nothing_is_left_and_no_error_is_lost(report: Report) -> None:
    assert (report["faults"], report["left"]) == ([], [])
