"""Running a module of the tests as a user that is not root, who may not be able to read this working copy."""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

__all__ = ["OTHER", "OtherUser", "other_user"]

OTHER = 65534
_AS_OTHER = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
_TREES = ("shoal", "cloudpickle", "msgspec")
_MODULES = ("pyseccomp",)
_REPOSITORY = Path(__file__).parents[2]


class OtherUser(msgspec.Struct):
    """Where the readable copy is, and an interpreter that this user can run."""

    directory: Path
    python: str

    def command(self, module: str, *args: str) -> list[str]:
        """Return what runs a module as the other user."""
        return [*_AS_OTHER, self.python, "-m", module, *args]

    @property
    def env(self) -> dict[str, str]:
        """Its environment."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "PYTHONPATH": str(self.directory),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@contextmanager
def other_user() -> Iterator[OtherUser | str]:
    """Make the copy for as long as it is needed; gives the reason instead where there can be none."""
    if os.geteuid() != 0:
        yield "only root can become another user"
        return
    directory = Path(tempfile.mkdtemp(prefix="shoal-other-"))
    try:
        directory.chmod(0o755)
        python = _interpreter([sys.executable, f"/usr/bin/python3.{sys.version_info.minor}", "/usr/bin/python3"])
        if python is None:
            yield f"user {OTHER} can run no Python 3.{sys.version_info.minor}"
            return
        _copy(directory)
        yield OtherUser(directory, python)
    finally:
        shutil.rmtree(directory)


def _interpreter(candidates: Sequence[str]) -> str | None:
    # setpriv itself may still be able to start what the user then cannot read.
    same = f"import os, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]!r} or not os.access(sys.executable, 1))"
    for python in candidates:
        if subprocess.run([*_AS_OTHER, python, "-c", same], capture_output=True, cwd="/", check=False).returncode == 0:
            return python
    return None


def _copy(directory: Path) -> None:
    leave = shutil.ignore_patterns(".mypy_cache")
    for name in _TREES:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.submodule_search_locations is not None
        shutil.copytree(spec.submodule_search_locations[0], directory / name, ignore=leave)
    for name in _MODULES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            shutil.copy(spec.origin, directory)
    for name in ("support", "lifecycle"):
        shutil.copytree(_REPOSITORY / "tests" / name, directory / "tests" / name, ignore=leave)
    (directory / "tests" / "__init__.py").touch()
    # Hundreds of processes import it, and none of them may write beside it.
    compileall.compile_dir(directory, quiet=1)
    for path in directory.rglob("*"):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
