"""Unpacking an OCI image layout into a root directory, once. Nothing is pulled from a network."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import re
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from shoal.errors import BoxSpecError

__all__ = ["unpack_image"]

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LAYERS = re.compile(r"application/vnd\.(oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)([.+]gzip)?")
_GONE = ".wh."  # marks a name that lower layers have and this one has not
_EMPTIED = ".wh..wh..opq"
_LINKS = 40
_PIECE = 1 << 20


def unpack_image(layout: Path, cache: Path | None = None) -> Path:
    """Return the root directory of the image in *layout*; it is unpacked when the cache has not got it.

    *cache* is by default ``$XDG_CACHE_HOME/shoal/images`` or ``~/.cache/shoal/images``. Raises BoxSpecError; the cache is
    then as it was.
    """
    cache = cache or _default_cache()
    try:
        manifest, name = _manifest(layout)
        place = cache / name
        if place.is_dir():
            return place
        cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=cache))
        try:
            for layer in manifest["layers"]:
                _apply(_blob(layout, layer), layer.get("mediaType", ""), unfinished)
            with contextlib.suppress(FileExistsError, OSError):  # somebody else has just unpacked it
                os.rename(unfinished, place)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, KeyError, TypeError, IndexError, msgspec.MsgspecError, tarfile.TarError, EOFError) as error:
        raise BoxSpecError(f"image {layout}: {type(error).__name__}: {error}") from error
    if not place.is_dir():
        raise BoxSpecError(f"image {layout}: it could not be moved to {place}")
    return place


def _default_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "shoal" / "images"


# -- manifests and blobs -------------------------------------------------------------------------------------------


def _manifest(layout: Path) -> tuple[dict[str, Any], str]:
    """Return the manifest for this machine and the name of its root directory in the cache."""
    index = msgspec.json.decode((layout / "index.json").read_bytes(), type=dict[str, Any])
    for _ in range(4):  # an index may point at an index
        chosen = _for_this_machine(index["manifests"])
        index = msgspec.json.decode(_blob(layout, chosen).read_bytes(), type=dict[str, Any])
        if "layers" in index:
            return index, chosen["digest"].partition(":")[2]
    raise BoxSpecError(f"image {layout}: no manifest with layers")


def _for_this_machine(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    machine = _MACHINES.get(platform.machine(), platform.machine())
    fitting = [
        manifest
        for manifest in manifests
        if manifest.get("platform", {}).get("architecture", machine) == machine
        and manifest.get("platform", {}).get("os", "linux") == "linux"
    ]
    if not fitting:
        raise BoxSpecError(f"the image has nothing for linux on {machine}")
    return fitting[0]


def _blob(layout: Path, descriptor: dict[str, Any]) -> Path:
    """Return the file of a blob, whose digest and size are as promised."""
    digest = descriptor["digest"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise BoxSpecError(f"image {layout}: {digest!r:.100} is no sha256 digest")
    path = layout / "blobs" / "sha256" / digest.partition(":")[2]
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if f"sha256:{found}" != digest:
        raise BoxSpecError(f"image {layout}: blob {digest} has the digest sha256:{found}")
    return path


# -- layers --------------------------------------------------------------------------------------------------------


def _apply(layer: Path, media_type: str, root: Path) -> None:
    if not _LAYERS.fullmatch(media_type):
        raise BoxSpecError(f"a layer of type {media_type!r:.100} cannot be unpacked; tar and tar with gzip can")
    with tarfile.open(layer, "r:*") as archive:
        for member in archive:
            _put(archive, member, root)


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    parts = _parts(member.name)
    if not parts:
        return
    parent = _inside(root, parts[:-1], make=True)
    name = parts[-1]
    if name == _EMPTIED:
        for entry in list(parent.iterdir()):
            _discard(entry)
        return
    if name.startswith(_GONE):
        _discard(parent / name.removeprefix(_GONE))
        return
    place = parent / name
    if not (member.isdir() and place.is_dir() and not place.is_symlink()):
        _discard(place)
    mode = member.mode & 0o1777  # neither set-user nor set-group
    if member.isdir():
        place.mkdir(exist_ok=True)
        place.chmod(mode | 0o700)
    elif member.issym():
        _check_link(member)
        place.symlink_to(member.linkname)
    elif member.islnk():
        source = _parts(member.linkname)
        target = _inside(root, source[:-1]) / source[-1]
        if target.is_symlink() or not target.is_file():
            raise BoxSpecError(
                f"{member.name!r:.200} is a link to {member.linkname!r:.200}, which is no file of the image"
            )
        os.link(target, place)
    elif member.isfile():
        _write(archive, member, place)
        place.chmod(mode | 0o400)
    else:
        raise BoxSpecError(f"{member.name!r:.200} is a device or pipe, which a box does not get")


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, place: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None
    with open(place, "xb") as file:
        shutil.copyfileobj(content, file, _PIECE)


def _parts(name: str) -> list[str]:
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", ".")]
    if ".." in parts:
        raise BoxSpecError(f"{name!r:.200} leads out of the image")
    return parts


def _check_link(member: tarfile.TarInfo) -> None:
    text = PurePosixPath(member.linkname)
    depth = 0 if text.is_absolute() else len(_parts(member.name)) - 1
    for part in text.parts:
        depth += -1 if part == ".." else 0 if part == "/" else 1
        if depth < 0:
            raise BoxSpecError(
                f"{member.name!r:.200} is a link to {member.linkname!r:.200}, which leads out of the image"
            )


def _inside(root: Path, parts: list[str], *, make: bool = False) -> Path:
    """Return the directory *parts* in *root*, with links followed as if *root* were ``/``."""
    place, rest, links = root, list(parts), 0
    while rest:
        name = rest.pop(0)
        if name == "..":
            place = root if place == root else place.parent
            continue
        place = place / name
        if place.is_symlink():
            links += 1
            if links > _LINKS:
                raise BoxSpecError(f"{'/'.join(parts)!r:.200}: too many links")
            text = PurePosixPath(os.readlink(place))
            place = root if text.is_absolute() else place.parent
            rest[:0] = [part for part in text.parts if part != "/"]
        elif make and not place.exists():
            place.mkdir(mode=0o755)
    return place


def _discard(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
