"""``AgentWatcher``: starts the services of the files in a folder, and follows what becomes of the files."""

from __future__ import annotations

import asyncio
import math
import os
from typing import Any, get_args

from shoal.errors import AgentLimitError, ConfigError, DeadAgentError, InfoError, LeaseLostError
from shoal.kernel.ports import Clock
from shoal.kernel.starting import present_clock
from shoal.services.agent import ServiceAgent
from shoal.services.info import AgentInfo, AgentType
from shoal.services.introducing import Isolation
from shoal.services.orders import control_action
from shoal.services.watchfolder import Folder, Look, Source
from shoal.services.watchstarts import Starts
from shoal.services.watchversion import Version, in_thread, load_version

__all__ = ["AgentWatcher"]

INTERVAL_SECONDS = 1.0
SETTLED, SURELY_SETTLED = 2, 5
"""In so many looks a file is not found before it is taken for removed; in so many while others are still being written."""


class AgentWatcher(ServiceAgent):
    """Starts all services that the ``*.py`` files of a folder define, and keeps to the files: runs inline only.

    - **A new file** is loaded as a module of its own, and one instance of each of its ServiceAgent classes is started;
      imported, abstract and ``_private`` classes are left out, and bases without an ``info`` of their own. A file stands
      alone: it imports what is installed, not its neighbours.
    - **A changed file** (its content counts, not its time): the new version is started first, then the old one is drained,
      so no request is lost. A version is taken whole: when it cannot be loaded, or one of its services does not start,
      nothing of it stays and the old one goes on.
    - **A removed file**: its services are drained and stopped.
    - **An exclusive service** may have one living instance only, so a new version cannot start beside the old one. The old
      one is drained first; until the new one runs, requests to it are refused (DRAINING, NOT_FOUND or NO_WORKERS). When the
      new one does not start, the old one is started anew. A second class of an exclusive name is refused alone, and
      started when a file of the folder gives the name up.

    A file is read, or taken for removed, when two looks in a row have found the same, ``interval`` apart; at the start one
    that nobody has touched for as long is read at once. Folder and files must belong to this user or root, and nobody else
    may be able to write there; links are followed within the folder. What is wrong stands in ``errors`` and in the log, and
    all else goes on; what has failed is tried again when it changes. A watcher that is stopped ends what it has started.

    It answers requests with ``path``, ``loaded`` and ``errors``. Its control action ``rescan`` looks at once, takes files as
    they are, tries again what has failed, and answers the same when all is done and what was replaced has ended.

    Config: ``path`` (default the variable SHOAL_AGENT_PATH, else ``./agents``), ``interval`` in seconds (1.0), and
    ``isolation``, where what it starts is to run (``inline``).

    Attributes:
        path: the folder.
        errors: what is wrong, by file; what is wrong with the folder itself by its path.
        load_seconds: what a file has for its import and its constructors, which run in a thread.
        grace: seconds that a drained service has for what it has accepted.
    """

    load_seconds = 10.0
    grace = 10.0

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        """Raises InfoError: a value of *config* that cannot be."""
        super().__init__(config)
        given = self.config
        path = given.get("path") or os.environ.get("SHOAL_AGENT_PATH") or "./agents"
        interval, isolation = given.get("interval", INTERVAL_SECONDS), given.get("isolation", "inline")
        faults = []
        if not isinstance(path, str):
            faults.append(f"path must be text, not {path!r:.80}")
        if isinstance(interval, bool) or not isinstance(interval, (int, float)) or not 0 < interval < math.inf:
            faults.append(f"interval must be seconds above 0, not {interval!r:.80}")
        if isolation not in get_args(Isolation):
            faults.append(f"isolation must be one of {', '.join(get_args(Isolation))}, not {isolation!r:.80}")
        if faults:
            raise InfoError(faults)
        self.path: str = path
        self.errors: dict[str, str] = {}
        self._interval: float = interval
        self._isolation: str = isolation
        self._versions: dict[str, Version] = {}
        self._failed: dict[str, tuple[str, str]] = {}  # digest and error of the content that was last tried in vain
        self._no_place: dict[str, int] = {}  # what found no place for its agents, and how many versions had ended then
        self._work: dict[str, asyncio.Task[None]] = {}  # what is being done about a file
        self._watching: asyncio.Task[None] | None = None
        self._gone: dict[str, int] = {}  # how many looks did not find a file any more
        self._held = False

    def info(self) -> AgentInfo:
        """Say who it is."""
        return AgentInfo(name="watcher", capabilities=("watcher",), type=AgentType.SERVER)

    @property
    def loaded(self) -> dict[str, tuple[str, ...]]:
        """The instances that run of each file, by its name."""
        return {name: tuple(version.instances.values()) for name, version in sorted(self._versions.items())}

    async def process_request(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer with what is loaded, and what is wrong."""
        return self._told()

    def _told(self) -> dict[str, Any]:
        loaded = {name: list(instances) for name, instances in self.loaded.items()}
        return {"path": self.path, "loaded": loaded, "errors": dict(self.errors)}

    @control_action("rescan")
    async def rescan(self) -> dict[str, Any]:
        """Look now, try again what has failed, and return what is loaded and wrong when all is done."""
        async with self._looking:
            self._folder.forget(self._failed)
            self._failed.clear()
            for version in self._versions.values():
                version.refused_at = None
            await self._look(at_once=True)
        if self._work:
            await asyncio.wait(self._work.values())
        await self._starts.quiet()
        return self._told()

    # -- its life

    async def on_start(self) -> None:
        """Look at the folder, and begin to watch. Raises ConfigError: it is not there, not safe, or watched already."""
        self._clock: Clock = present_clock()
        self._looking = asyncio.Lock()
        self._folder = Folder(self.path, self._interval)
        self._versions, self._failed, self._gone, self.errors = {}, {}, {}, {}
        folder = str(self._folder.path)
        self._starts = Starts(self.context._call, self.logger, folder, self._isolation, self.grace)
        self._swept = False
        await in_thread(self._clock, None, self._folder.check)
        await self.context._call("services.watch", {"folder": folder})
        self._watching = asyncio.get_running_loop().create_task(self._watch(), name=f"watch {self.path}")

    async def on_stop(self) -> None:
        """End what it has started."""
        ending = [task for task in (self._watching, *self._work.values()) if task is not None]
        for task in ending:
            task.cancel()
        if ending:
            await asyncio.wait(ending)
        await self._starts.close()

    def on_pause(self) -> dict[str, Any]:
        """Follow no changes."""
        self._held = True
        return {}

    def on_resume(self, state: dict[str, Any]) -> None:
        """Follow them again."""
        self._held = False

    def on_config(self, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Refuse changes: another folder is another watcher's."""
        raise ConfigError("the config of a watcher stays as it was started")

    async def _watch(self) -> None:
        while True:
            try:
                if not self._held:
                    async with self._looking:
                        await self._look()
            except (LeaseLostError, DeadAgentError) as error:
                self.logger.info("Watches %s no longer: %s", self.path, error)
                return
            except Exception:  # one look that failed must not end the watching
                self.logger.exception("A look at %s failed; the next one comes in %g s", self.path, self._interval)
            await self._clock.sleep(self._interval)

    # -- what is there

    async def _look(self, *, at_once: bool = False) -> None:
        try:
            look = await in_thread(self._clock, None, self._folder.look, None if at_once else self._clock.micros())
        except ConfigError as error:  # nobody knows what is there now: what runs goes on
            self._note(self.path, str(error))
            return
        for name in self.errors.keys() - look.names:
            del self.errors[name]
        for name in self._failed.keys() - look.names:
            del self._failed[name]
        for name, fault in look.faults.items():
            self._note(name, fault)
        for source in look.sources:
            self._take(source)
        for name in self._removed(look, at_once):
            self._begin(name, self._remove(name, list(self._work.values())))
        self._try_again()
        await self._sweep(look)

    def _take(self, source: Source) -> None:
        """Do what a file that was read anew asks for."""
        name, version, failed = source.name, self._versions.get(source.name), self._failed.get(source.name)
        if name in self._work:
            self._folder.forget([name])  # it is looked at again when that is done
        elif failed is not None and failed[0] == source.digest:
            self._note(name, failed[1])
        elif version is not None and version.digest == source.digest:
            self._runs(name, version)
        else:
            self._begin(name, self._load(source))

    def _removed(self, look: Look, at_once: bool) -> list[str]:
        """Return the files that are gone for good: they may have another name, and be about to be read under that."""
        gone = self._versions.keys() - look.names - self._work.keys()
        self._gone = {name: self._gone.get(name, 0) + 1 for name in gone}
        needed = SETTLED if not look.unsettled else SURELY_SETTLED
        return [name for name, looks in self._gone.items() if at_once or looks >= needed]

    def _try_again(self) -> None:
        """Where the name, or the place, that was missing may have become free, try again."""
        ended = self._starts.ended
        for name, version in self._versions.items():
            if version.refused and version.refused_at != ended and name not in self._work:
                self._begin(name, self._start_refused(name, version))
        for name in [name for name, at in self._no_place.items() if at != ended]:
            del self._no_place[name]
            self._failed.pop(name, None)
            self._folder.forget([name])

    async def _sweep(self, look: Look) -> None:
        """Once everything has been looked at, end what an earlier watcher has left."""
        if not self._swept and not self._work and not look.unsettled:
            self._swept = True
            await self._starts.sweep(set(look.names - self._versions.keys()))

    def _begin(self, name: str, work: Any) -> None:
        task = self._work[name] = asyncio.get_running_loop().create_task(work, name=f"agent file {name}")
        task.add_done_callback(lambda _: self._worked(name, task))

    def _worked(self, name: str, task: asyncio.Task[None]) -> None:
        del self._work[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self.logger.error("%s failed: %s", task.get_name(), error, exc_info=error)

    async def _load(self, source: Source) -> None:
        """Load a file, and put it in the place of what runs of it."""
        name = source.name
        try:
            new = await self._loaded(source)
            new.refused_at = self._starts.ended
            await self._starts.replace(self._versions.get(name), new)
        except (LeaseLostError, DeadAgentError) as error:
            self.logger.info("Agent file %s is not loaded: %s", name, error)
        except Exception as error:  # noqa: BLE001  whatever a file does is kept as its error
            self._failed[name] = source.digest, str(error) or type(error).__name__
            if isinstance(error, AgentLimitError):
                self._no_place[name] = self._starts.ended
            self._note(name, self._failed[name][1], error)
        else:
            self._versions[name] = new
            self._runs(name, new)

    async def _loaded(self, source: Source) -> Version:
        try:
            return await in_thread(self._clock, self.load_seconds, load_version, source, self._clock.new_id())
        except TimeoutError:
            text = f"{source.path} cannot be loaded: it does not end within {self.load_seconds:g} s"
            raise ConfigError(text) from None

    async def _remove(self, name: str, others: list[asyncio.Task[None]]) -> None:
        """End what runs of a file that is gone, when what was to be loaded with that look is there: it may be the same."""
        if others:
            await asyncio.wait(others)
        self.logger.info("Agent file %s is gone", name)
        self._starts.retire(self._versions.pop(name))

    async def _start_refused(self, name: str, version: Version) -> None:
        version.refused_at = self._starts.ended
        await self._starts.start_refused(version)
        self._runs(name, version)

    def _runs(self, name: str, version: Version) -> None:
        """Note that this is what runs of a file now; what is wrong with it is what was refused, if that is anything."""
        self._failed.pop(name, None)
        if version.refused:
            self._note(name, "; ".join(version.refused.values()))
        else:
            self.errors.pop(name, None)

    def _note(self, name: str, text: str, error: BaseException | None = None) -> None:
        """Keep an error, and log it when it is new."""
        if self.errors.get(name) != text:
            self.errors[name] = text
            cause = None if error is None else error.__cause__
            self.logger.error("Agent file %s: %s", name, text, exc_info=cause)
