"""The root directory that a box asks for in place of the host's system: a directory, or an image unpacked once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shoal.boxes.image import unpack_image
from shoal.boxes.spec import BoxSpec
from shoal.errors import BoxStartError

__all__ = ["Roots"]


class Roots:
    """Knows the root directories of images that were unpacked."""

    def __init__(self) -> None:
        self._unpacked: dict[str, Path] = {}

    async def prepare(self, spec: BoxSpec) -> Path | None:
        """Return the root directory of *spec*, None for the host's own system. Raises BoxSpecError."""
        if spec.image is not None:
            self._unpacked[str(spec.image)] = await asyncio.to_thread(unpack_image, Path(spec.image))
        return self.known(spec)

    def known(self, spec: BoxSpec) -> Path | None:
        """Return what ``prepare`` returned for *spec*. Raises BoxStartError when it was not called."""
        if spec.image is not None:
            if str(spec.image) not in self._unpacked:
                raise BoxStartError("the image was not prepared", level="any", phase="launch")
            return self._unpacked[str(spec.image)]
        return None if spec.rootfs is None else Path(spec.rootfs).resolve()
