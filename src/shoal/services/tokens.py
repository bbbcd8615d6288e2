"""Secrets of the registry: what a caller may do, and who owns a record. Kept and compared as digests only."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from enum import IntEnum

from shoal.errors import ConfigError

__all__ = ["Role", "Tokens", "digest", "fits", "new_token"]

TOKEN_BYTES = 32
_TOKEN = re.compile("[!-~]+")


class Role(IntEnum):
    """What a caller may do; each may what those before it may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


class Tokens:
    """The tokens of a registry and the role of each; true when there are any.

    Args:
        tokens: ``read``, ``write`` or ``admin`` by token.

    Raises:
        ConfigError: with every fault; it shows no token.
    """

    def __init__(self, tokens: Mapping[str, str] | None) -> None:
        roles = {role.name.lower(): role for role in Role}
        faults: list[str] = []
        self._known: list[tuple[str, Role]] = []
        for number, (token, word) in enumerate((tokens or {}).items(), 1):
            if not isinstance(token, str) or not _TOKEN.fullmatch(token):
                faults.append(f"token {number}: must be text of printable ASCII characters without blanks")
            elif word not in roles:
                faults.append(f"token {number}: its role must be one of {', '.join(roles)}, not {word!r:.80}")
            else:
                self._known.append((digest(token), roles[word]))
        if faults:
            raise ConfigError(faults)

    def __bool__(self) -> bool:
        return bool(self._known)

    def role_of(self, authorization: str | None) -> Role | None:
        """Return the role of a header ``Authorization``, None when it has none. It compares with all tokens, always."""
        scheme, _, token = (authorization or "").partition(" ")
        given, found = digest(token.strip()), None
        for known, role in self._known:
            if hmac.compare_digest(known, given):
                found = role
        return found if scheme.lower() == "bearer" else None


def new_token() -> str:
    """Return a new secret. Not of the clock's random source: who knows enough of that one's ids can go on with it."""
    return os.urandom(TOKEN_BYTES).hex()


def digest(token: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def fits(token: str | None, kept: str) -> bool:
    """Tell, in constant time, whether *token* is the secret of which *kept* is the digest."""
    return token is not None and hmac.compare_digest(digest(token), kept)
