"""A TOML file, read and ready to be looked at."""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from shoal.errors import ConfigError, nearest
from shoal.tomlfile.faults import Faults
from shoal.tomlfile.lines import Lines

__all__ = ["open_toml"]


def open_toml(file: Path, kind: str, tables: Collection[str], *, note: str) -> tuple[dict[str, Any], Faults]:
    """Read a file, and return what is in it and where its faults are noted: tables that nobody knows among them.

    Args:
        file: its path.
        kind: what it is to people, such as ``team file``.
        tables: those that it may have.
        note: what to do when it is not there.

    Raises ConfigError: there is none, it cannot be read, or it is no TOML.
    """
    text = _text_of(file, kind, note)
    try:
        whole = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: this is no TOML: {error}") from error
    faults = Faults(file, Lines(text))
    for key in whole:
        if key not in tables:
            faults.add((key,), f"there is no table [{key[:80]}]{nearest(key, tables)}")
    return whole, faults


def _text_of(file: Path, kind: str, note: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no {kind} {str(file)[:200]}", note=note) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(file)[:200]} cannot be read: {reason}") from error
