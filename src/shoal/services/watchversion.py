"""One version of an agent file: loaded as a module of its own, with the services that it defines."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import inspect
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar

from shoal.errors import ConfigError, InfoError
from shoal.kernel.ports import Clock
from shoal.kernel.threads import DaemonPool
from shoal.loading import forget_source, load_source
from shoal.services.agent import ServiceAgent
from shoal.services.info import AgentInfo
from shoal.services.introducing import described_by
from shoal.services.watchfolder import Source

__all__ = ["Version", "in_thread", "load_version", "same_code"]

T = TypeVar("T")
MODULES = "shoal_agents_"
ID_DIGITS = 12


class Version:
    """What one content of a file is, and what runs of it.

    Attributes:
        file: the file's name.
        digest: of its content.
        services: its classes in order, each with what it says of itself.
        instances: those that were started, by their class.
        refused: those whose name another has as an exclusive one, and what was said of it.
        refused_at: how many versions had ended when that was last tried.
    """

    def __init__(self, source: Source, module: ModuleType, services: dict[type[ServiceAgent], AgentInfo]) -> None:
        self.file = source.name
        self.digest = source.digest
        self.services = services
        self.instances: dict[type[ServiceAgent], str] = {}
        self.refused: dict[type[ServiceAgent], str] = {}
        self.refused_at: int | None = None
        self._module = module

    def beside(self, info: AgentInfo) -> list[type[ServiceAgent]]:
        """Return the classes whose instances cannot live beside a service of *info*: they share an exclusive name."""
        found = ((cls, self.services[cls]) for cls in self.instances)
        return [cls for cls, other in found if other.name == info.name and (other.exclusive or info.exclusive)]

    def forget(self) -> None:
        """Let go of the module: nothing of it runs any more."""
        forget_source(self._module)


def same_code(one: object, other: type) -> bool:
    """Tell whether two classes were made by the same file with the same content, by whatever life of a watcher."""
    if not isinstance(one, type) or not other.__module__.startswith(MODULES):
        return False
    makers = {cls.__module__.rpartition("_")[0] for cls in (one, other)}
    return len(makers) == 1 and one.__qualname__ == other.__qualname__


def load_version(source: Source, new_id: str) -> Version:
    """Load a file and have each of its services say what it is. Runs the file's code, so it may take any time.

    Args:
        source: as it was read.
        new_id: makes the name of its module one of its own.

    Raises:
        ConfigError: it is no Python, it raised, or a class of it cannot be started (InfoError).
    """
    word = re.sub(r"\W", "_", source.path.stem)
    maker = hashlib.sha256(f"{source.path}\0{source.digest}".encode()).hexdigest()[:ID_DIGITS]
    module = load_source(f"{MODULES}{word}_{maker}_{new_id[-ID_DIGITS:]}", source.path, source.data)
    try:
        return Version(source, module, {cls: _described(cls) for cls in _services(module)})
    except BaseException:
        forget_source(module)
        raise


def _services(module: ModuleType) -> list[type[ServiceAgent]]:
    """Return the services that a module defines itself, in order; bases, abstract and ``_private`` classes are none."""
    own = [
        value
        for value in dict.fromkeys(each for each in vars(module).values() if isinstance(each, type))
        if issubclass(value, ServiceAgent) and value.__module__ == module.__name__
    ]

    def is_base(cls: type[ServiceAgent]) -> bool:
        derived = any(cls in other.__mro__[1:] for other in own)
        return inspect.isabstract(cls) or (derived and cls.info is ServiceAgent.info)

    return [cls for cls in own if not cls.__name__.startswith("_") and not is_base(cls)]


def _described(cls: type[ServiceAgent]) -> AgentInfo:
    try:
        return described_by(cls, {}).inner.info
    except InfoError as error:
        raise InfoError([f"{cls.__name__}: {fault}" for fault in error.faults]) from error
    except Exception as error:
        raise ConfigError(f"{cls.__name__} cannot be made: {type(error).__name__}: {error}") from error


async def in_thread(clock: Clock, seconds: float | None, fn: Callable[..., T], *args: Any) -> T:
    """Return ``fn(*args)``, run in a daemon thread of its own, which is left behind when nobody waits any more.

    Raises TimeoutError after *seconds* (None: never), then the thread is interrupted; and what *fn* raises.
    """
    pool = DaemonPool(1)
    context = contextvars.copy_context()

    def job() -> T:
        return context.run(fn, *args)

    running = asyncio.get_running_loop().run_in_executor(pool, job)
    running.add_done_callback(_seen)
    try:
        async with clock.timeout(seconds):
            return await asyncio.shield(running)
    finally:
        if not running.done():
            if seconds is not None:
                pool.interrupt(job)
            pool.abandon(job)
        pool.shutdown(wait=False)


def _seen(running: asyncio.Future[Any]) -> None:
    """Look at an error that perhaps nobody waits for any more."""
    if not running.cancelled():
        running.exception()
