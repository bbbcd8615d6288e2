"""Files that say to NATS who a node is: a user's JWT with the seed of its key, or the seed alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shoal.errors import BusError, MissingExtraError

__all__ = ["key_of", "user_of"]

_JWT, _SEED = "BEGIN NATS USER JWT", "BEGIN USER NKEY SEED"


def user_of(file: str) -> Any:
    """Return the JWT and the seed in *file*, as the client wants them. Raises BusError when it does not hold both.

    The client itself would look for them for ever.
    """
    try:
        from nats.aio.client import RawCredentials
    except ModuleNotFoundError as error:
        raise MissingExtraError("nats", "the bus nats://") from error
    text = _text(file)
    if not all(_after(text, mark) for mark in (_JWT, _SEED)):
        raise BusError(f"{file[:200]!r} does not hold the JWT and the seed of a user of NATS")
    _check(_after(text, _SEED), file)
    return RawCredentials(text)


def key_of(file: str) -> str:
    """Return the seed of a user's key in *file*. Raises BusError when it does not hold one."""
    text = _text(file)
    seed = (_after(text, _SEED) if _SEED in text else text).strip()
    _check(seed, file)
    return seed


def _text(file: str) -> str:
    try:
        return Path(file).read_text(encoding="ascii")
    except FileNotFoundError:
        raise BusError(f"there is no file {file[:200]!r}") from None
    except OSError as error:
        raise BusError(f"{file[:200]!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BusError(f"{file[:200]!r} is no text") from None


def _after(text: str, mark: str) -> str:
    """Return the line after the one with *mark*; empty when there is none."""
    lines = iter(text.splitlines())
    return next((next(lines, "") for line in lines if mark in line), "").strip()


def _check(seed: str, file: str) -> None:
    try:
        import nkeys
    except ModuleNotFoundError as error:
        raise MissingExtraError("nats", "a key of NATS") from error
    try:
        prefix, raw = nkeys.decode_seed(bytearray(seed.encode()))
        good = prefix == nkeys.PREFIX_BYTE_USER and nkeys.encode_seed(bytes(raw), prefix).decode() == seed
    except (nkeys.NkeysError, ValueError):
        good = False
    if not good:
        raise BusError(f"{file[:200]!r} holds no seed of a user's key (SU...)")
