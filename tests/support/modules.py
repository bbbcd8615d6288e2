"""Modules that a test has imported from folders of its own are gone after it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["own_modules"]


@contextmanager
def own_modules(folder: Path) -> Iterator[None]:
    """Forget at the end what was imported from below *folder*, and the folders that are searched for it."""
    try:
        yield
    finally:
        sys.path[:] = [each for each in sys.path if not Path(each).is_relative_to(folder)]
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if isinstance(file, str) and Path(file).is_relative_to(folder):
                del sys.modules[name]
