"""What is wrong with a TOML file: all of it, each with its line."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from shoal.errors import ConfigError, MissingExtraError, nearest
from shoal.tomlfile.lines import Lines

__all__ = ["Faults", "Noting", "Path_", "is_secret"]

Path_ = tuple[str, ...]
"""The way to a key: ``("agents", "Lead", "model")``."""

_SECRET = re.compile(
    r"(api[_-]?key|secret|passwd|password|credential|authorization|(^|[_-])token|(^|(?<!cache)[_-])key)$", re.IGNORECASE
)  # openai_prompt_cache_key is none


class Faults:
    """What was found in the file at *path*."""

    def __init__(self, path: Path, lines: Lines) -> None:
        self._path = path
        self._lines = lines
        self._found: dict[tuple[int, str], None] = {}

    def add(self, place: Path_, text: str) -> None:
        """Note a fault of what stands at *place*."""
        line = self._lines.of(place)
        where = f"{self._path}, line {line}" if line else str(self._path)
        self._found.setdefault((line or 0, f"{where}: {_table(place)}{text}"))

    def of(self, place: Path_, subject: str = "") -> Noting:
        """Return a context in which what the code raises is noted about the value at *place*; it goes on behind it."""
        return Noting(self, place, subject)

    def table(self, whole: Mapping[str, Any], place: Path_, known: Collection[str]) -> dict[str, Any]:
        """Return the table at *place*, {} when there is none, without keys that nobody knows."""
        found = whole.get(place[-1], {})
        if not isinstance(found, dict):
            self.add(place, f"{place[-1]} must be a table: [{'.'.join(place)}], and its keys below it")
            return {}
        return self.keys(found, place, known)

    def keys(self, table: Mapping[str, Any], place: Path_, known: Collection[str]) -> dict[str, Any]:
        """Return *table* without the keys that nobody knows."""
        for key in table:
            if key not in known:
                self.add((*place, key), f"there is no key {key[:80]!r}{nearest(key, known)}")
        return {key: value for key, value in table.items() if key in known}

    def texts(self, value: object, place: Path_) -> list[str]:
        """Return *value* if it is a list of texts, else note it and return []."""
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return value
        self.add(place, f"{place[-1]} must be a list of texts")
        return []

    def __len__(self) -> int:
        return len(self._found)

    def check(self) -> None:
        """Raise ConfigError with every fault, in the order of the file, if there is any."""
        if self._found:
            raise ConfigError([text for _, text in sorted(self._found, key=lambda fault: fault[0])])


class Noting:
    """Notes bad values, and what is not installed; every other error passes."""

    def __init__(self, faults: Faults, place: Path_, subject: str) -> None:
        self._faults = faults
        self._place = place
        self._subject = subject

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, ConfigError):
            texts = list(error.faults)
        elif isinstance(error, MissingExtraError):
            texts = [": ".join([str(error), *error.__notes__])]
        elif isinstance(error, (ValueError, TypeError)):
            texts = [str(error)]
        else:
            return False
        for text in texts:
            self._faults.add(self._place, self._subject + text)
        return True


def _table(place: Path_) -> str:
    """Return how the table of a key is named before what is wrong with it."""
    return f"[{'.'.join(place[:-1])}] " if len(place) > 1 else ""


def is_secret(name: str) -> bool:
    """Tell whether what stands under *name* is a key or a password."""
    return _SECRET.search(name) is not None
