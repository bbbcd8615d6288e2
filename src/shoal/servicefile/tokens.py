"""Tokens of the registry: in a file that nobody else may read, or in the environment; never on a command line."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from shoal.errors import ConfigError
from shoal.services.tokens import Tokens

__all__ = ["TOKENS_VARIABLE", "load_tokens"]

TOKENS_VARIABLE = "SHOAL_REGISTRY_TOKENS"
_NOTE = "Write a line ROLE:TOKEN for each; ROLE is read, write or admin."


def load_tokens(file: Path | None) -> dict[str, str]:
    """Return the role of each token: those of *file*, or without one those of SHOAL_REGISTRY_TOKENS; {}: there are none.

    Each is ``ROLE:TOKEN``; blanks or line ends stand between them, and what follows a ``#`` at the begin of a line is a
    comment.

    Raises:
        ConfigError: there is no such file, others may read it, or every fault of what is in it; it shows no token.
    """
    if file is None:
        return _read(os.environ.get(TOKENS_VARIABLE, "").splitlines(), TOKENS_VARIABLE)
    try:
        with file.open(encoding="utf-8") as opened:
            if os.fstat(opened.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise ConfigError(f"others may read {file}: `chmod 600` it, and make new tokens")
            lines = opened.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    found = _read(lines, str(file))
    if not found:
        raise ConfigError(f"{file} has no tokens", note=_NOTE)
    return found


def _read(lines: Iterable[str], where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    faults = []
    for number, line in enumerate(lines, 1):
        for word in () if line.lstrip().startswith("#") else line.split():
            role, colon, token = word.partition(":")
            try:
                Tokens({token: role} if colon else {"": ""})
            except ConfigError:  # its text counts tokens, and where the word has no colon it would be all secret
                faults.append(f"{where}, line {number}: this is no ROLE:TOKEN, with the role read, write or admin")
            else:
                if found.setdefault(token, role) != role:
                    faults.append(f"{where}, line {number}: this token has two roles")
    if faults:
        raise ConfigError(faults)
    return found
