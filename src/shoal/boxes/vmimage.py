"""The image of virtual machines: kernel, initrd and disks, made once into a cache (``shoal boxes build-image``).

Only the kernel has to be fetched; all else is made of what the host has, and made anew when that has changed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec

from shoal.boxes.spec import BoxSpec, Mount
from shoal.boxes.vmcache import PartCache, digest_of, digest_of_tree
from shoal.boxes.vmdisk import make_disk, program
from shoal.boxes.vmkernel import INIT, MODULES, make_initrd, make_kernel
from shoal.boxes.vmroot import POINTS, Interpreter, ask_interpreter, library_digest, stage_library, stage_root
from shoal.errors import BoxSpecError, IsolationUnavailableError

__all__ = ["BUILD_COMMAND", "Disk", "Image", "build_image", "image_fault", "open_image"]

BUILD_COMMAND = "shoal boxes build-image"
_FORMAT = "2"  # of what the parts hold; another one makes all parts anew
_KERNEL = f"kernel-{digest_of(*MODULES)}"
_ROOTFS_PYTHON = "/usr/bin/python3"


class Disk(msgspec.Struct, frozen=True):
    """A read-only disk of a machine: its file, and where it is mounted; of a disk with one file that file's name."""

    file: Path
    target: str
    name: str = ""


class Image(msgspec.Struct, frozen=True):
    """What a machine is started with. ``python`` is the interpreter's path in it."""

    kernel: Path
    initrd: Path
    root: Path
    library: Path
    python: str
    disks: tuple[Disk, ...] = ()


def image_fault(cache: PartCache) -> str | None:
    """Tell why no machine can be started from *cache*, None when one can."""
    if cache.find(_KERNEL) is None:
        return f"no kernel for virtual machines yet: run `{BUILD_COMMAND}`"
    return None


def build_image(cache: PartCache | None = None, package: Path | None = None) -> Image:
    """Make what is missing of the image for the host's interpreter. Takes some seconds, and the network for the kernel.

    Args:
        cache: where to; None: the user's.
        package: a Debian package of a kernel, in place of downloading one; it replaces the kernel that is there.

    Raises IsolationUnavailableError, which says what is missing and what to do.
    """
    cache = cache or PartCache()
    if package is not None:
        cache.drop(_KERNEL)
    cache.make(_KERNEL, lambda target: make_kernel(target, package))
    return open_image(cache, BoxSpec())


def open_image(cache: PartCache, spec: BoxSpec, source: Path | None = None) -> Image:
    """Return the image that *spec* asks for; makes the disks that are missing, which takes some seconds.

    *source* is the root directory of *spec*, None for one that is made of the host's interpreter. A mount or a root
    directory is what its directory holds at this moment. Raises BoxSpecError, IsolationUnavailableError.
    """
    fault = image_fault(cache)
    kernel = cache.find(_KERNEL)
    if fault is not None or kernel is None:
        raise IsolationUnavailableError(f"microvm: {fault}")
    busybox = Path(program("busybox", "busybox-static"))
    tool = f"{busybox} {busybox.stat().st_mtime_ns}"
    started = digest_of(
        _FORMAT, INIT, tool, (kernel / "release").read_text(), str((kernel / "vmlinux").stat().st_mtime_ns)
    )
    initrd = cache.make(f"initrd-{started}", lambda target: make_initrd(target, kernel, busybox))
    host = ask_interpreter(None if source is not None else spec.python)
    if source is not None:
        root, python = _given_root(cache, source), spec.python or _ROOTFS_PYTHON
    else:
        root, python = _host_root(cache, host, busybox), host.executable
    return Image(
        kernel=kernel / "vmlinux",
        initrd=initrd,
        root=root,
        library=_library(cache, host),
        python=python,
        disks=tuple(_disk(cache, mount) for mount in spec.mounts),
    )


def _given_root(cache: PartCache, source: Path) -> Path:
    name = f"rootfs-{digest_of(_FORMAT, _tree(source))}"
    return cache.make(name, lambda target: make_disk(target, source, POINTS))


def _host_root(cache: PartCache, host: Interpreter, busybox: Path) -> Path:
    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="shoal-root-") as stage:
            Path(stage).chmod(0o755)
            stage_root(Path(stage), host, busybox)
            make_disk(target, Path(stage))

    return cache.make(f"root-{digest_of(_FORMAT, host.digest())}", make)


def _library(cache: PartCache, python: Interpreter) -> Path:
    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="shoal-library-") as stage:
            Path(stage).chmod(0o755)
            stage_library(Path(stage), python)
            make_disk(target, Path(stage))

    return cache.make(f"library-{digest_of(_FORMAT, library_digest(python))}", make)


def _disk(cache: PartCache, mount: Mount) -> Disk:
    source = Path(mount.source)
    name = f"mount-{digest_of(_FORMAT, _tree(source))}"
    if source.is_dir():
        return Disk(cache.make(name, lambda target: make_disk(target, source)), mount.target)

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="shoal-mount-") as stage:
            Path(stage).chmod(0o755)
            shutil.copy2(source, stage)
            make_disk(target, Path(stage))

    return Disk(cache.make(name, make), mount.target, source.name)


def _tree(source: Path) -> str:
    try:
        return digest_of_tree(source)
    except OSError as error:
        raise BoxSpecError(f"{error.filename or source} cannot be read: {error.strerror}") from error
