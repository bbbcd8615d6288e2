"""Errors of configuration, extras, the store and the runtime's state."""

from __future__ import annotations

from collections.abc import Sequence

from shoal.errors.root import ShoalError

__all__ = [
    "BusError",
    "ConfigError",
    "IsolationUnavailableError",
    "MissingExtraError",
    "RuntimeClosedError",
    "RuntimeNotStartedError",
    "RuntimeStateError",
    "RuntimeStoppingError",
    "ServerError",
    "StoreError",
]


class ConfigError(ShoalError, ValueError):
    """A configuration is wrong. ``faults`` names every fault, each with its key and the allowed values."""

    def __init__(self, faults: str | Sequence[str], *, note: str | None = None) -> None:
        self.faults: tuple[str, ...] = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("; ".join(self.faults), note=note)


class IsolationUnavailableError(ConfigError):
    """This machine cannot run the isolation level that was asked for; a weaker one is never taken instead."""


class MissingExtraError(ShoalError, RuntimeError, ImportError):
    """A feature needs an optional part. ``extra`` names it."""

    def __init__(self, extra: str, feature: str) -> None:
        self.extra = extra
        super().__init__(f"{feature} needs the extra {extra!r}", note=f"Install it with: pip install 'shoal[{extra}]'")


class StoreError(ShoalError, RuntimeError):
    """The store cannot be opened, or it refused a write. Nothing of that write was acknowledged."""

    def __init__(self, text: str, *, url: str = "", note: str | None = None) -> None:
        self.url = url
        super().__init__(text, note=note)


class BusError(ShoalError, ConnectionError):
    """The server of the bus cannot be reached, or refused this node."""


class ServerError(ShoalError, RuntimeError):
    """A server that Shoal starts did not start, or ended by itself; the text has the end of its log."""


class RuntimeStateError(ShoalError, RuntimeError):
    """The runtime's present state does not allow this."""


class RuntimeNotStartedError(RuntimeStateError):
    """A verb was called before the runtime was started."""

    def __init__(self, text: str = "Runtime not started") -> None:
        super().__init__(
            text, note="Call `await runtime.start()` first, or use `async with AgentRuntime() as runtime`."
        )


class RuntimeStoppingError(RuntimeStateError):
    """A verb was called while the runtime stops."""

    def __init__(self, text: str = "Runtime is stopping") -> None:
        super().__init__(text, note="What was acknowledged is kept and goes on at the next start on the same store.")


class RuntimeClosedError(RuntimeStateError):
    """The runtime is shut down; make a new one."""

    def __init__(self, text: str = "The runtime is shut down") -> None:
        super().__init__(text)
