"""Unpacking images: what is in them, what is refused, and that the cache is never half full."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from shoal.boxes.image import unpack_image
from shoal.errors import BoxSpecError

TAR, GZIP = "application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip"
Entry = tuple[str, str, str]  # name, kind, content or link target


def layer(*entries: Entry) -> bytes:
    kinds = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "sym": tarfile.SYMTYPE, "link": tarfile.LNKTYPE}
    kinds |= {"device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, content in entries:
            info = tarfile.TarInfo(name)
            info.type = kinds[kind]
            info.mode = 0o4755
            if kind == "file":
                info.size = len(content)
            else:
                info.linkname = content
            archive.addfile(info, io.BytesIO(content.encode()) if kind == "file" else None)
    return out.getvalue()


class Layout:
    """An image layout in the making."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, media_type: str, **more: object) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data), **more}

    def write(self, *layers: dict[str, object], **more: object) -> Path:
        manifest = json.dumps({"schemaVersion": 2, "layers": layers}).encode()
        described = self.blob(manifest, "application/vnd.oci.image.manifest.v1+json", **more)
        (self.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))
        return self.directory


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


def test_layers_lie_on_top_of_each_other(layout: Layout, tmp_path: Path) -> None:
    first = layer(
        ("./usr/", "dir", ""),
        ("usr/bin/tool", "file", "one"),
        ("usr/old", "file", "old"),
        ("usr/full/a", "file", "a"),
        ("bin", "sym", "usr/bin"),
        ("etc/away", "sym", "/usr/bin/tool"),
        ("usr/bin/same", "link", "usr/bin/tool"),
    )
    second = layer(("bin/more", "file", "two"), ("usr/.wh.old", "file", ""), ("usr/full/.wh..wh..opq", "file", ""))
    image = layout.write(layout.blob(first, TAR), layout.blob(gzip.compress(second), GZIP))
    root = unpack_image(image, tmp_path / "cache")
    found = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert found == {"usr/bin/tool", "usr/bin/same", "usr/bin/more", "etc/away"}
    assert os.readlink(root / "bin") == "usr/bin" and (root / "usr/bin/same").read_text() == "one"
    assert (root / "usr/bin/tool").stat().st_mode & 0o7777 == 0o755
    assert unpack_image(image, tmp_path / "cache") == root


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (("../outside", "file", "x"), "leads out of the image"),
        (("a/../../outside", "file", "x"), "leads out of the image"),
        (("link", "sym", "../outside"), "leads out of the image"),
        (("a/link", "sym", "/../outside"), "leads out of the image"),
        (("hard", "link", "etc/nothing"), "no file of the image"),
        (("hard", "link", "../../etc/passwd"), "leads out of the image"),
        (("null", "device", ""), "device"),
        (("pipe", "pipe", ""), "device or pipe"),
    ],
)
def test_what_leads_out_is_refused(layout: Layout, tmp_path: Path, entry: Entry, why: str) -> None:
    good = layer(("etc/file", "file", "x"), ("a", "dir", ""))
    image = layout.write(layout.blob(good, TAR), layout.blob(layer(entry), TAR))
    with pytest.raises(BoxSpecError, match=why):
        unpack_image(image, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_a_link_of_a_lower_layer_never_leads_to_the_host(layout: Layout, tmp_path: Path) -> None:
    target = tmp_path / "host"
    target.mkdir()
    lower = layer(("way", "sym", str(target)))
    image = layout.write(layout.blob(lower, TAR), layout.blob(layer(("way/file", "file", "x")), TAR))
    root = unpack_image(image, tmp_path / "cache")
    assert list(target.iterdir()) == [] and (root / str(target).lstrip("/") / "file").read_text() == "x"


def spoil_blob(image: Path) -> None:
    for blob in (image / "blobs" / "sha256").iterdir():
        if b"etc/file" in blob.read_bytes():
            blob.write_bytes(blob.read_bytes() + b"\0")


def spoil_index(image: Path) -> None:
    (image / "index.json").write_text('{"manifests": 3}')


@pytest.mark.parametrize(("spoil", "why"), [(spoil_blob, "has the digest"), (spoil_index, "TypeError")])
def test_a_spoilt_image_is_refused(layout: Layout, tmp_path: Path, spoil: Callable[[Path], None], why: str) -> None:
    image = layout.write(layout.blob(layer(("etc/file", "file", "x")), TAR))
    spoil(image)
    with pytest.raises(BoxSpecError, match=why):
        unpack_image(image, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []


def test_only_what_this_machine_runs_is_taken(layout: Layout, tmp_path: Path) -> None:
    image = layout.write(layout.blob(layer(), TAR), platform={"architecture": "sparc", "os": "linux"})
    with pytest.raises(BoxSpecError, match="nothing for linux"):
        unpack_image(image, tmp_path / "cache")


def test_an_unknown_kind_of_layer_is_named(layout: Layout, tmp_path: Path) -> None:
    image = layout.write(layout.blob(b"x", "application/vnd.oci.image.layer.v1.tar+zstd"))
    with pytest.raises(BoxSpecError, match=r"tar\+zstd"):
        unpack_image(image, tmp_path / "cache")
