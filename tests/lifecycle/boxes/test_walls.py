"""Boxes behind walls, really started: what is seen from inside, what is refused, what holds. As root and not as root."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.usernumbers import FIRST_USER
from tests.lifecycle.boxes.conftest import User

NOTHING = "0000000000000000"
NOWHERE = {"EROFS", "EACCES", "ENOENT", "EPERM"}


@pytest.fixture(scope="session")
def looks() -> dict[tuple[str, str], dict[str, Any]]:
    return {}


@pytest.fixture
def seen(user: User, walled: str, shared: Path, looks: dict[tuple[str, str], dict[str, Any]]) -> dict[str, Any]:
    """What code in a box sees, in namespaces around it in which it could harm nothing; the host is as before."""
    key = user.name, walled
    if key not in looks:
        before = facts()
        looks[key] = {"level": walled, **user.ask("walls", walled, str(shared), apart=True), "before": before}
        looks[key]["after"] = facts()
    return looks[key]


def facts() -> tuple[str, str, list[str]]:
    """What no box may change."""
    mounts = Path("/proc/self/mounts").read_text()
    return Path("/proc/sys/kernel/core_pattern").read_text(), os.uname().nodename, sorted(mounts.splitlines())


@pytest.mark.spec("B39")
def test_no_rights_no_sight_of_others_no_writable_settings(user: User, seen: dict[str, Any]) -> None:
    hello, inside = seen["hello"], seen["inside"]
    assert hello["capabilities"] == NOTHING and set(inside["capabilities"].values()) == {NOTHING}
    assert hello["uid"] == inside["uid"] and inside["groups"] in ([], [65534], [1000])
    if seen["level"] == "bubblewrap":
        assert inside["seccomp"] == "2" == str(hello["seccomp"]) and inside["no_new_privs"] == "1"
        assert inside["uid"] >= FIRST_USER if user.is_root else inside["uid"] == 1000
    else:
        assert inside["uid"] == 1000
    # Beside the command itself: at most the keeper of its walls and the guest.
    assert len(set(inside["processes"]) - {inside["own"][0]}) <= 2
    assert {inside["files"][path] for path in inside["files"]} <= NOWHERE, inside["files"]


def test_nothing_of_the_host_is_there(seen: dict[str, Any]) -> None:
    inside = seen["inside"]
    assert inside["environment"] == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/work",
        "LANG": "C.UTF-8",
        "GREETING": "hi",
    }
    assert (inside["secret"], inside["kill"], inside["hostname"]) == ("ENOENT", "ESRCH", "cell")
    assert inside["abstract"] == "ECONNREFUSED" and "secret" not in inside["keeper"]
    assert os.environ["PATH"] not in inside["keeper"]
    assert inside["tcp"] in ("EAFNOSUPPORT", "ECONNREFUSED", "ENETUNREACH")
    assert inside["descriptors"] == [0, 1, 2, 3]  # the last one reads the list


def test_the_filter_refuses_what_breaks_walls_and_lets_programs_work(seen: dict[str, Any]) -> None:
    inside = seen["inside"]
    if seen["level"] == "gvisor":  # whatever these do there, they do to a kernel of its own
        assert (inside["calls"]["mount"], inside["calls"]["chroot"], inside["families"]["vsock"]) == (
            "EPERM",
            "EPERM",
            "EAFNOSUPPORT",
        )
        return
    assert set(inside["calls"].values()) == {"EPERM"} or inside["calls"] == {
        **dict.fromkeys(inside["calls"], "EPERM"),
        "setuid": "EINVAL",  # of a user namespace in which there is no root
    }
    refused = {name for name, outcome in inside["families"].items() if outcome == "EAFNOSUPPORT"}
    assert refused == {"inet", "inet6", "netlink", "packet", "vsock"} and inside["families"]["unix"] == "ok"
    assert inside["threads"] == "ok"


def test_the_host_is_as_before(seen: dict[str, Any]) -> None:
    assert seen["after"] == seen["before"]


def test_files_of_the_host_are_there_when_asked_for(user: User, walled: str, shared: Path) -> None:
    told = user.ask("mounts", walled, str(shared))
    assert told["said"][0] == "old" and told["said"][-1] in ("30", "13") and told["kept"] == "new", told


def test_the_network_is_there_when_asked_for(user: User, walled: str) -> None:
    told = user.ask("network", walled)
    assert told["said"][0] == "hello", told
    if walled == "bubblewrap":
        assert told["said"][1] == "97"  # still no way to the kernel's own sockets


@pytest.fixture(scope="session")
def small_root() -> Iterator[Path]:
    """A root directory with nothing but Python, where another user can read it, too."""
    python = Path("/usr/bin/python3").resolve()
    if not python.exists():
        pytest.skip("there is no /usr/bin/python3 to put into a root directory")
    with tempfile.TemporaryDirectory(prefix="shoal-root-") as name:
        root = Path(name)
        root.chmod(0o755)
        _fill(root, python)
        yield root


def _fill(root: Path, python: Path) -> None:
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(python, root / "usr/bin/python3")
    listed = subprocess.check_output(["ldd", str(python)], text=True)
    for word in listed.split():
        if word.startswith("/"):
            place = root / word.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, place)
    library = f"/usr/lib/{python.name}"
    leave = shutil.ignore_patterns("__pycache__", "test", "tests", "idlelib", "ensurepip", "config-*", "dist-packages")
    shutil.copytree(library, root / library.lstrip("/"), ignore=leave, symlinks=True)
    (root / "marker").touch()


def test_a_root_directory_in_place_of_the_hosts(user: User, walled: str, small_root: Path) -> None:
    told = user.ask("root", walled, str(small_root))
    assert told["said"] == ["/usr/bin/python3", "True", "False"], told
    assert told["hello"]["capabilities"] == NOTHING and told["hello"]["uid"] != 0


def test_an_image_in_place_of_the_hosts(user: User, walled: str, small_root: Path, shared: Path) -> None:
    image = shared / "image"
    blobs = image / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (image / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    with tarfile.open(shared / "layer", "w") as archive:
        archive.add(small_root, ".")
    layer = described((shared / "layer").read_bytes(), blobs, "application/vnd.oci.image.layer.v1.tar")
    manifest = described(json.dumps({"layers": [layer]}).encode(), blobs, "application/vnd.oci.image.manifest.v1+json")
    (image / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    (shared / "cache").mkdir()
    (shared / "cache").chmod(0o777)
    told = user.ask("root", walled, str(image), XDG_CACHE_HOME=str(shared / "cache"))
    assert told["said"] == ["/usr/bin/python3", "True", "False"], told


def described(data: bytes, blobs: Path, media_type: str) -> dict[str, str]:
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}"}


# -- limits --------------------------------------------------------------------------------------------------------


def test_a_box_over_its_memory_is_killed(user: User, walled: str) -> None:
    told = user.ask("memory", walled)
    assert (told["verdict"], told["said"] != 0) == ("memory limit 200 MiB", True), told


def test_processes_are_counted(user: User, walled: str) -> None:
    told = user.ask("pids", walled)
    if walled == "gvisor":  # its own threads count as well, and it may die of it
        assert told["code"] != 0
    else:
        count, error = map(int, told["said"])
        assert 30 <= count < 40 and error == 11, told


def test_each_room_has_its_size(user: User, walled: str) -> None:
    assert user.ask("disk", walled) == {place: [8, "ENOSPC"] for place in ("/tmp/x", "/work/x", "/dev/shm/x")}


def test_the_processor_is_shared(user: User, walled: str) -> None:
    told = user.ask("cpu", walled)
    if told["held"] == "none":
        pytest.skip(f"nothing holds the share of a {walled} box for {user.name}")
    assert 0.1 < told["share"] < 0.3, told


def test_a_frozen_box_stands_still_and_goes_on(user: User, walled: str) -> None:
    told = user.ask("freeze", walled)
    assert (told["still"], told["said"], told["code"]) == (True, "here\n", 137)


def test_signals_reach_the_processes_in_the_box(user: User, walled: str) -> None:
    assert user.ask("signals", walled) == {"code": 128 + 10}


def test_the_end_of_the_channel_is_seen(user: User, walled: str) -> None:
    assert user.ask("hangup", walled)["ended"] == -9
