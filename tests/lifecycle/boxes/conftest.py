"""Who runs the scenarios: this user, and one that is not root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.levels import unavailable
from tests.support.otheruser import OTHER, OtherUser, other_user

MODULE = "tests.lifecycle.boxes.scenarios"
REPOSITORY = Path(__file__).parents[3]
SECONDS = 90
_probed: dict[tuple[str, str], dict[str, Any]] = {}  # what a level is to a user does not change between tests


class User:
    """Runs scenarios in processes of their own, as one user."""

    def __init__(self, name: str, other: OtherUser | None) -> None:
        self.name = name
        self._other = other

    @property
    def is_root(self) -> bool:
        return self._other is None and os.geteuid() == 0

    @property
    def env(self) -> dict[str, str]:
        """The environment of its scenarios."""
        if self._other is not None:
            return self._other.env
        return {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}

    def command(self, name: str, level: str, argument: str = "", *, apart: bool = False) -> list[str]:
        """Return what runs a scenario; *apart*: in mount and host-name namespaces of its own."""
        return self.module(MODULE, name, level, argument, apart=apart)

    def module(self, module: str, *args: str, apart: bool) -> list[str]:
        """Return what runs a module of the tests; *apart* as above."""
        if self._other is not None:
            command = self._other.command(module, *args)
        else:
            command = [sys.executable, "-m", module, *args]
        if not apart:
            return command
        if self.is_root:
            return ["unshare", "-m", "-u", "--propagation", "private", *command]
        at = command.index(self._other.python) if self._other is not None else 0
        return [*command[:at], "unshare", "-U", "-m", "-u", "--map-current-user", *command[at:]]

    def ask(self, name: str, level: str, argument: str = "", *, apart: bool = False, **env: str) -> dict[str, Any]:
        """Run a scenario to its end and return what it says."""
        return self.hear(self.command(name, level, argument, apart=apart), env)

    def hear(self, command: list[str], env: Mapping[str, str], seconds: float = SECONDS) -> dict[str, Any]:
        """Run a command to its end and return what it says."""
        done = subprocess.run(
            command,
            env={**self.env, **env},
            cwd="/" if self._other is not None else REPOSITORY,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def need(self, level: str) -> None:
        """Go on only when the level works for this user."""
        key = self.name, level
        if key not in _probed:
            _probed[key] = self.ask("probed", level)
        if not _probed[key]["works"]:
            unavailable(level, _probed[key]["reason"])


@pytest.fixture(scope="session")
def another() -> Iterator[OtherUser | str]:
    with other_user() as found:
        yield found


def as_user(name: str, another: OtherUser | str) -> User:
    """Return this user or the other one; skip the test where there is none."""
    if name == "this user":
        return User(name, None)
    if isinstance(another, str):
        pytest.skip(another)
    return User(name, another)


@pytest.fixture(params=["this user", "another user"])
def user(request: pytest.FixtureRequest, another: OtherUser | str) -> User:
    """This user, and one that is not root."""
    return as_user(request.param, another)


@pytest.fixture
def shared(user: User) -> Iterator[Path]:
    """A directory that the user owns and can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="shoal-test-") as name:
        if not user.is_root and os.geteuid() == 0:
            os.chown(name, OTHER, OTHER)
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture(params=["bubblewrap", "gvisor"])
def walled(request: pytest.FixtureRequest, user: User) -> str:
    """Each level with walls on this machine's own kernel, where it works for the user."""
    user.need(request.param)
    return str(request.param)


@pytest.fixture
def hidden(shared: Path) -> Callable[..., str]:
    """``hidden(*names)`` returns a PATH on which these programs are not."""

    def hide(*names: str) -> str:
        folder = Path(tempfile.mkdtemp(prefix="path-", dir=shared))
        folder.chmod(0o755)
        for place in reversed(os.environ["PATH"].split(":")):
            for program in Path(place).glob("*") if place else ():
                if program.name not in names:
                    (folder / program.name).unlink(missing_ok=True)
                    (folder / program.name).symlink_to(program)
        return str(folder)

    return hide
