"""The program of a box: functions that travelled by value, or the source of a script."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class Functions:
    """A task and handlers."""

    def __init__(self, packed: bytes) -> None:
        """Unpack them. Raises whatever unpacking raises."""
        import cloudpickle  # type: ignore[import-untyped]

        parts = cloudpickle.loads(packed)
        self._task: Callable[[], Any] | None = parts["task"]
        self.messages: list[Callable[[str, Any], Any]] = parts["messages"]
        self.events: list[tuple[str, Callable[[Any], Any]]] = parts["events"]

    def run(self) -> Any:
        """Run the task; what it returns may want to be awaited."""
        return None if self._task is None else self._task()


class Source:
    """A script that runs as ``__main__``. It serves only when it says so itself."""

    def __init__(self, source: bytes, path: str, args: list[str]) -> None:
        """Nothing is compiled yet."""
        self._source = source
        self._path = path
        self._args = args

    def run(self) -> None:
        """Run it to its end."""
        import linecache

        sys.argv[:] = [self._path, *self._args]
        sys.modules["__main__"].__dict__["__file__"] = self._path
        text = self._source.decode("utf-8", "replace")
        # Its file is not here; tracebacks show its lines all the same.
        linecache.cache[self._path] = (len(text), None, text.splitlines(keepends=True), self._path)
        exec(compile(self._source, self._path, "exec"), sys.modules["__main__"].__dict__)


def fresh_main() -> None:
    """Let ``__main__`` be the program's own, not the file that started this process."""
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
