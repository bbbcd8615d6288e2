"""How the versions of agent files follow each other: the next one is started before the last one ends."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from shoal.errors import AgentNameTakenError
from shoal.services.agent import ServiceAgent
from shoal.services.watchversion import Version

__all__ = ["Starts"]

LONGEST_NAME = 83  # of a service, within the 100 characters that an instance's may have
FOLDER_DIGITS, FILE_DIGITS, CODE_DIGITS = 8, 4, 4

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]


class Starts:
    """Starts and ends the services of files, by the verbs of a watcher.

    An instance is called ``service/`` and digits for folder, file and code: so a node that comes after a killed one takes up
    the agents it finds, with their ids and states, and starts none beside them. One of an exclusive service is called as
    the service.
    """

    def __init__(self, call: Call, log: logging.Logger, folder: str, isolation: str, grace: float) -> None:
        self._call = call
        self._log = log
        self._mark = _digits(folder, FOLDER_DIGITS)
        self._isolation = isolation
        self._grace = grace
        self._names: set[str] = set()  # of what runs, and what has not quite ended
        self._versions: set[Version] = set()
        self._ends: set[asyncio.Task[None]] = set()
        self.ended = 0  # how many versions have run and ended so far

    async def replace(self, old: Version | None, new: Version) -> None:
        """Start a version, then begin to end the one before it.

        An exclusive name that both have is handed over: the old instance ends first.

        Raises what kept the new version from starting; nothing of it is left, and the old one goes on.
        """
        self._versions.add(new)
        handed: list[type[ServiceAgent]] = []
        try:
            for cls in sorted(new.services, key=lambda cls: bool(_in_the_way(old, new, cls))):
                in_the_way = _in_the_way(old, new, cls)  # nobody any more for a second class of the name
                if old is None or not in_the_way:
                    await self._start_or_refuse(new, cls)
                    continue
                for other in in_the_way:
                    await self._end(old.instances[other])
                    del old.instances[other]
                    handed.append(other)
                await self._start(new, cls)
            if old is not None and new.refused and not new.instances:
                raise _Refused("; ".join(new.refused.values()))
        except Exception as error:
            await self._ended(new)
            lost = [] if old is None else await self._take_back(old, handed)
            if lost:
                raise _Refused("; ".join([str(error), *lost])) from error
            raise
        if old is not None:
            self.retire(old)

    async def _take_back(self, old: Version, handed: list[type[ServiceAgent]]) -> list[str]:
        """Start again what had to end for a version that did not start. Returns what did not come back, with the reasons."""
        lost = []
        for cls in handed:
            try:
                await self._start(old, cls)
            except Exception as error:  # noqa: BLE001  told with the error that began it
                lost.append(f"the {cls.__name__} before it could not be started again: {error}")
        return lost

    async def start_refused(self, version: Version) -> None:
        """Try again to start what was refused."""
        refused, version.refused = list(version.refused), {}
        for cls in refused:
            await self._start_or_refuse(version, cls)

    async def _start_or_refuse(self, version: Version, cls: type[ServiceAgent]) -> None:
        try:
            await self._start(version, cls)
        except AgentNameTakenError as error:
            version.refused[cls] = f"{cls.__name__} is not started: {error}"

    async def _start(self, version: Version, cls: type[ServiceAgent]) -> None:
        info = version.services[cls]
        for name in [None] if info.exclusive else self._free_names(version, cls):
            try:
                args = {"agent": cls, "isolation": self._isolation, "instance": name}
                instance = version.instances[cls] = await self._call("services.start", args)
            except AgentNameTakenError as error:
                if name is None or error.name != name:
                    raise
            else:
                self._names.add(instance)
                self._log.info("Started %s of %s (%s)", cls.__name__, version.file, instance)
                return

    def _free_names(self, version: Version, cls: type[ServiceAgent]) -> Iterator[str]:
        word, file = version.services[cls].name[:LONGEST_NAME], _digits(version.file, FILE_DIGITS)
        for number in itertools.count():
            code = _digits(f"{cls.__qualname__} {version.digest} {number}", CODE_DIGITS)
            name = f"{word}/{self._mark}{file}{code}"
            if name not in self._names:
                yield name

    async def _end(self, instance: str) -> bool:
        gone: bool = await self._call("services.stop", {"instance": instance, "grace": self._grace})
        self._names.discard(instance)
        return gone

    def retire(self, version: Version) -> None:
        """Begin to end all that runs of a version."""
        end = asyncio.get_running_loop().create_task(self._ended(version), name=f"end of {version.file}")
        self._ends.add(end)
        end.add_done_callback(self._retired)

    def _retired(self, end: asyncio.Task[None]) -> None:
        self._ends.discard(end)
        self.ended += 1
        if not end.cancelled() and (error := end.exception()) is not None:
            self._log.error("%s failed: %s", end.get_name(), error, exc_info=error)

    async def _ended(self, version: Version) -> None:
        """Drain all instances of a version and let go of its code."""
        gone = await asyncio.gather(*(self._end(instance) for instance in version.instances.values()))
        self._versions.discard(version)
        if all(gone):  # else the runtime ends, and may come back with them
            version.forget()

    async def sweep(self, files: set[str]) -> None:
        """End what earlier watchers of the folder have left: what they had started, and no file of today has.

        *files* are those of which nothing runs now, though they are there: what was theirs is left to them.
        """
        spared = {_digits(file, FILE_DIGITS) for file in files}
        pattern = rf".*/{self._mark}([0-9a-f]{{{FILE_DIGITS + CODE_DIGITS}}})"
        for instance in await self._call("services.left", {"pattern": pattern}):
            file = instance[-FILE_DIGITS - CODE_DIGITS : -CODE_DIGITS]
            if instance not in self._names and file not in spared:
                self._log.info("Ended %s, which an earlier watcher has left", instance)
                await self._end(instance)

    async def quiet(self) -> None:
        """Wait until no version is about to end."""
        if self._ends:
            await asyncio.wait(self._ends)

    async def close(self) -> None:
        """End everything."""
        for version in list(self._versions):
            self.retire(version)
        try:
            await self.quiet()
        finally:
            for end in self._ends:
                end.cancel()


class _Refused(Exception):
    """Nothing of a version could be started, or less than before is left."""


def _in_the_way(old: Version | None, new: Version, cls: type[ServiceAgent]) -> list[type[ServiceAgent]]:
    """Return what must end before a class of the new version can start."""
    return [] if old is None else old.beside(new.services[cls])


def _digits(text: str, number: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:number]
