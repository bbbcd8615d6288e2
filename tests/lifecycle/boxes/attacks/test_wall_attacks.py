"""Code in a box looks for the host, and finds its own walls. As root and not as root."""

from __future__ import annotations

import pytest

from tests.lifecycle.boxes.attacks.conftest import Attacked, Report, places

pytestmark = pytest.mark.spec("B40")

REFUSED = {"EROFS", "EACCES", "ENOENT", "EPERM"}
OWN_KERNEL = {"ok", "EPERM", "EACCES", "EINVAL", "ENOSYS", "ENODEV", "EFAULT", "ENOTTY", "ENOTSUP"}


@pytest.fixture(params=places(("bubblewrap", "gvisor"), ("bubblewrap", "gvisor")))
def report(request: pytest.FixtureRequest, attacked: Attacked) -> Report:
    return {"level": request.param[1], **attacked(request.param, "walls")}


def test_the_same_look_without_walls_finds_what_is_there(report: Report) -> None:
    assert report["control"] == {"secret": "ok", "environment": True}


def test_files_and_environment_of_the_host_are_not_there(report: Report) -> None:
    assert (report["secret"], report["shadow"], report["environment"]) == ("ENOENT", "ENOENT", False)
    assert report["escapes"] == [] and not report["environments"]
    assert report["secret afterwards"] == "secretsecret"


def test_processes_of_the_host_and_of_other_boxes_are_out_of_reach(report: Report) -> None:
    assert report["commands"] == [] and report["other lives"] == "yes\n"
    for found in (report["host process"], report["other box"]):
        assert found["kill"] == "ESRCH" and found["root"] == found["environ"] == "ENOENT", found
        assert {found["attach"], found["seize"], found["memory"]} <= {"EPERM", "ESRCH", "ENOSYS"}, found


def test_sockets_of_the_host_are_out_of_reach(report: Report) -> None:
    inside = report["inside"]
    assert {inside["tcp"], report["tcp6"]} <= {"EAFNOSUPPORT", "ECONNREFUSED", "ENETUNREACH"}
    assert (report["unix path"], inside["abstract"]) == ("ENOENT", "ECONNREFUSED")
    assert inside["families"]["vsock"] == "EAFNOSUPPORT"
    if report["level"] == "bubblewrap":
        assert inside["families"]["netlink"] == "EAFNOSUPPORT"


def test_nothing_outside_of_its_rooms_can_be_written(report: Report) -> None:
    tried = {**report["written"], **report["inside"]["files"]}
    if report["level"] == "gvisor":  # its devices are files of its own kernel, in the box's own memory
        tried = {path: outcome for path, outcome in tried.items() if not path.startswith("/dev/")}
    assert set(tried.values()) <= REFUSED, tried
    assert report["renamed"] in REFUSED
    assert {report[name] for name in ("read-only mount", "remade", "removed")} <= REFUSED


def test_calls_that_break_walls_are_refused(report: Report) -> None:
    calls = report["inside"]["calls"]
    if report["level"] == "gvisor":  # what these change there is a kernel of its own
        assert calls["mount"] == calls["chroot"] == calls["hostname"] == "EPERM" and set(calls.values()) <= OWN_KERNEL
    else:
        # There is no root to become in another user's namespace.
        assert set(calls.values()) == {"EPERM"} or {**calls, "setuid": "EPERM"} == dict.fromkeys(calls, "EPERM"), calls
        assert report["devices"] == []


def test_no_program_gives_rights(report: Report) -> None:
    assert set(report["set-uid"]) <= {"refused", "absent"} and report["copy"] is True


def test_links_in_a_writable_mount_lead_nowhere(report: Report) -> None:
    assert "secret" not in report["links"].values(), report["links"]
    assert report["links"]["/etc/shadow"] == report["links"]["/proc/self/environ"] == "BoxError"
