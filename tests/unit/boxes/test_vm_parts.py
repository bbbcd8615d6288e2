"""The parts of virtual machines: each is made once, whole, and of what the host has."""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shoal.boxes import vmkernel
from shoal.boxes.spec import BoxSpec
from shoal.boxes.vmcache import PartCache, digest_of, digest_of_tree
from shoal.boxes.vmdisk import make_disk
from shoal.boxes.vmimage import build_image, image_fault, open_image
from shoal.boxes.vmroot import Interpreter, ask_interpreter, stage_library
from shoal.errors import BoxSpecError, IsolationUnavailableError

needs_disks = pytest.mark.skipif(
    shutil.which("mke2fs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None, reason="no mke2fs"
)


# -- the cache


def test_a_part_is_made_once_and_found_again(tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "a" / "b")
    assert cache.find("disk-1") is None
    made = []

    def make(target: Path) -> None:
        made.append(target)
        target.write_text("part")

    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: cache.make("disk-1", make), range(8)))
    assert len(made) == 1
    assert set(paths) == {cache.find("disk-1")} == {tmp_path / "a" / "b" / "disk-1"}
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_one_builder_at_a_time_across_processes(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from shoal.boxes.vmcache import PartCache
def make(target):
    with open(sys.argv[1] + "/made", "a") as file: file.write("x")
    target.mkdir()
    time.sleep(0.2)
    (target / "whole").touch()
print((PartCache(Path(sys.argv[1]) / "cache").make("part-1", make) / "whole").exists())
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate(timeout=60)[0] for process in running] == ["True\n"] * 3
    assert (tmp_path / "made").read_text() == "x"


def test_a_builder_that_fails_or_is_killed_leaves_no_part(tmp_path: Path) -> None:
    cache = PartCache(tmp_path)
    (tmp_path / ".building-disk-1").write_text("half, of a builder that was killed")

    def fail(target: Path) -> None:
        assert not target.exists()
        target.write_text("half")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        cache.make("disk-1", fail)
    assert os.listdir(tmp_path) == ["lock"]


def test_parts_used_longest_ago_go_and_other_kinds_stay(tmp_path: Path) -> None:
    cache = PartCache(tmp_path)
    os.utime(cache.make("kernel-1", lambda target: target.mkdir()), (1, 1))
    for number in range(40):
        path = cache.make(f"disk-{number}", lambda target: target.touch())
        if number < 6:
            os.utime(path, (number, number))
        if number == 30:
            assert cache.find("disk-0") is not None  # used again
    left = {path.name for path in tmp_path.glob("disk-*")}
    assert left == {f"disk-{number}" for number in (0, *range(6, 40))}
    assert cache.find("kernel-1") is not None


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kernel-1").touch()
    tmp_path.chmod(0o777)
    with pytest.raises(IsolationUnavailableError, match="nobody else can write"):
        PartCache(tmp_path).find("kernel-1")


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(IsolationUnavailableError, match="cannot be written") as refused:
        PartCache(tmp_path / "file" / "cache").make("disk-1", lambda target: target.touch())
    assert "XDG_CACHE_HOME" in "".join(refused.value.__notes__)


def test_a_digest_follows_every_change_of_a_tree(tmp_path: Path) -> None:
    seen = set()

    def changed() -> bool:
        digest = digest_of_tree(tmp_path)
        assert digest == digest_of_tree(tmp_path)
        new = digest not in seen
        seen.add(digest)
        return new

    assert changed()
    (tmp_path / "file").write_text("a")
    os.utime(tmp_path / "file", ns=(1, 1))
    os.utime(tmp_path, ns=(1, 1))
    assert changed()
    os.utime(tmp_path / "file", ns=(1, 2))
    assert changed()
    (tmp_path / "file").chmod(0o600)
    assert changed()
    (tmp_path / "link").symlink_to("file")
    os.utime(tmp_path, ns=(1, 1))
    assert changed()
    assert not changed()
    assert digest_of("a", "bc") != digest_of("ab", "c")


# -- disks


def inside(disk: Path, request: str) -> str:
    debugfs = shutil.which("debugfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert debugfs is not None
    return subprocess.run([debugfs, "-R", request, str(disk)], capture_output=True, text=True, check=True).stdout


@needs_disks
def test_a_disk_holds_its_directory_and_the_places_that_are_missing(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_text("what is in it")
    (source / "big").write_bytes(bytes(range(256)) * 40_000)
    (source / "link").symlink_to("deep/er")
    (source / "work").mkdir()
    for number in range(2000):
        (source / "deep" / f"small{number}").touch()
    make_disk(tmp_path / "disk", source, ("/work", "/tmp"))
    assert inside(tmp_path / "disk", "cat /deep/er/file") == "what is in it"
    assert '"deep/er"' in inside(tmp_path / "disk", "stat /link")
    names = {line.split()[-1] for line in inside(tmp_path / "disk", "ls -l /").splitlines() if line.strip()}
    assert {"deep", "big", "link", "work", "tmp"} <= names
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o644
    assert not (source / "tmp").exists()


@needs_disks
def test_a_disk_that_would_be_too_large_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with open(source / "huge", "wb") as file:
        file.truncate(9 << 30)
    with pytest.raises(BoxSpecError, match="may have 8192"):
        make_disk(tmp_path / "disk", source)
    assert not (tmp_path / "disk").exists()


# -- kernel and initrd


def packed(kernel: bytes) -> bytes:
    """A kernel as distributions give it: boot sectors, code, and the real kernel compressed."""
    payload = gzip.compress(kernel) + struct.pack("<I", len(kernel))
    image = bytearray(512 * 3 + 100)
    image[0x1F1] = 2
    struct.pack_into("<II", image, 0x248, 100, len(payload))
    return bytes(image) + payload + b"what follows"


def test_a_kernel_comes_out_of_its_package(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: k\nVersion: 1\nArchitecture: all\nMaintainer: n\nDescription: d\n"
    )
    (tree / "boot").mkdir()
    (tree / "boot" / "vmlinuz-6.1.0-9-cloud").write_bytes(packed(b"\x7fELF" + b"kernel" * 99))
    modules = tree / "lib" / "modules" / "6.1.0-9-cloud" / "kernel" / "drivers"
    modules.mkdir(parents=True)
    (modules / "virtio.ko").write_bytes(b"virtio")
    (modules / "virtio_blk.ko.gz").write_bytes(gzip.compress(b"virtio_blk"))
    (modules / "other.ko").write_bytes(b"other")
    package = tmp_path / "kernel.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(package)], check=True, capture_output=True)

    vmkernel.make_kernel(tmp_path / "kernel", package)
    found = {path.name: path.read_bytes() for path in (tmp_path / "kernel").iterdir()}
    assert found == {
        "vmlinux": b"\x7fELF" + b"kernel" * 99,
        "virtio.ko": b"virtio",
        "virtio_blk.ko": b"virtio_blk",
        "release": b"6.1.0-9-cloud",
    }
    (tmp_path / "busybox").write_bytes(b"busybox")
    vmkernel.make_initrd(tmp_path / "initrd", tmp_path / "kernel", tmp_path / "busybox")
    assert archive(tmp_path / "initrd") == {
        **dict.fromkeys(("bin", "dev", "sys", "newroot"), b""),
        "bin/busybox": b"busybox",
        "init": vmkernel.INIT.format(modules="virtio virtio_blk").encode(),
        "virtio.ko": b"virtio",
        "virtio_blk.ko": b"virtio_blk",
    }


def test_a_package_without_a_kernel_is_refused(tmp_path: Path) -> None:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("no dpkg-deb")
    (tmp_path / "no.deb").write_text("not a package")
    with pytest.raises(IsolationUnavailableError, match="dpkg-deb --extract failed"):
        build_image(PartCache(tmp_path / "cache"), tmp_path / "no.deb")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: k\nVersion: 1\nArchitecture: all\nMaintainer: n\nDescription: d\n"
    )
    subprocess.run(["dpkg-deb", "--build", str(tree), str(tmp_path / "k.deb")], check=True, capture_output=True)
    with pytest.raises(IsolationUnavailableError, match="no kernel in it"):
        build_image(PartCache(tmp_path / "cache"), tmp_path / "k.deb")
    assert os.listdir(tmp_path / "cache") == ["lock"]


def archive(path: Path) -> dict[str, bytes]:
    """The files of a newc archive."""
    data, at = path.read_bytes(), 0
    found: dict[str, bytes] = {}
    while True:
        assert data[at : at + 6] == b"070701"
        size, name_size = (int(data[at + 6 + 8 * field : at + 14 + 8 * field], 16) for field in (6, 11))
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = data[at : at + size]
        at = (at + size + 3) & ~3


@pytest.mark.parametrize("text", [b"no kernel", b"#!/bin/sh\n"])
def test_what_is_no_kernel_is_refused(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(IsolationUnavailableError, match="no kernel"):
        vmkernel._unpack_kernel(packed(text))


def test_without_apt_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "dpkg-deb").symlink_to(shutil.which("true") or "/bin/true")
    monkeypatch.setenv("PATH", str(programs))
    cache = PartCache(tmp_path / "cache")
    with pytest.raises(IsolationUnavailableError, match="no apt-get") as refused:
        build_image(cache)
    assert "--kernel" in "".join(refused.value.__notes__)
    assert os.listdir(tmp_path / "cache") == ["lock"]
    with pytest.raises(IsolationUnavailableError, match="shoal boxes build-image"):
        open_image(cache, BoxSpec())
    assert "shoal boxes build-image" in str(image_fault(cache))


# -- what comes from the host


def test_an_interpreter_says_what_it_is_made_of() -> None:
    found = ask_interpreter(None)
    assert found.version == sys.version
    assert os.path.realpath(found.executable) == found.executable
    assert any(Path(entry, "os.py").exists() for entry in found.path)
    assert not any("site-packages" in entry for entry in found.path)
    with pytest.raises(BoxSpecError, match="cannot be asked"):
        ask_interpreter("/nowhere/python")


def test_the_library_disk_has_the_guest_and_its_packages(tmp_path: Path) -> None:
    python = ask_interpreter(None)
    stage_library(tmp_path, python)
    assert (tmp_path / "guest" / "main.py").exists()
    code = "import sys; sys.path[:0] = [sys.argv[1]]; import cloudpickle, msgspec, shoal; print(shoal.__file__)"
    done = subprocess.run(
        [python.executable, "-I", "-S", "-B", "-c", code, str(tmp_path / "lib")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "lib" / "shoal" / "__init__.py")
    assert list((tmp_path / "guest" / "__pycache__").glob("main.*.pyc"))
    assert Interpreter(executable=python.executable, version="other", path=python.path).digest() != python.digest()
