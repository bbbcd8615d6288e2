"""A file of recorded requests and replies: JSON lines, found again by what was asked.

A line holds ``sha256`` (of the canonical request), ``n`` (its repetition number, from 0), ``request``, ``reply`` and
``price`` (1e-12 USD, null if not known). One that was made of a run holds ``step`` (the digest of its prompt) and
``agent_name`` instead of the request, which a journal does not keep. No keys and no headers. The file is only ever replaced
as a whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from shoal.errors import CassetteError
from shoal.llm.model import ModelReply, ModelRequest

__all__ = ["Cassette", "Line", "StepLine", "canonical", "common_length", "first_difference", "line_of"]

NOT_ASKED = ("timeout", "key", "ordinal", "attempt")
SECRET_WORDS = ("header", "api_key", "apikey", "authorization", "token", "secret", "password")
NO_SECRETS = ("max_tokens", "max_completion_tokens")
BEFORE, AFTER = 30, 90  # characters shown around a difference


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recorded call."""

    sha256: str
    n: int
    request: dict[str, Any]
    reply: ModelReply
    price: int | None = None


class StepLine(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call of a run that was exported."""

    step: str
    agent_name: str
    n: int
    reply: ModelReply
    price: int | None = None


def canonical(request: ModelRequest) -> dict[str, Any]:
    """Return what is asked, without what differs from call to call: time-out, key, ordinal, attempt, the provider's own
    parts of earlier turns, and anything in the settings that is named like a header or a secret.

    Raises:
        CassetteError: the request holds what JSON cannot say.
    """
    try:
        asked: dict[str, Any] = msgspec.to_builtins(request, str_keys=True)
    except TypeError as error:
        raise CassetteError(f"a request that is to be found again must be JSON: {error}") from error
    for name in NOT_ASKED:
        asked.pop(name, None)
    for message in asked.get("messages", ()):
        message.pop("state", None)
    if "temperature" in asked:
        asked["temperature"] = float(asked["temperature"])
    if settings := _public(asked.pop("settings", {})):
        asked["settings"] = settings
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(asked))
    return plain


def _public(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _public(part) for name, part in value.items() if not _secret(name)}
    return [_public(part) for part in value] if isinstance(value, list) else value


def _secret(name: str) -> bool:
    return name not in NO_SECRETS and any(word in name.lower() for word in SECRET_WORDS)


def line_of(request: ModelRequest, reply: ModelReply, *, n: int = 0, price: int | None = None) -> Line:
    """Return the line of one call; *n* is how often the same was asked before."""
    asked = canonical(request)
    return Line(sha256=_digest(asked), n=n, request=asked, reply=reply, price=price)


def _digest(asked: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(asked, order="sorted")).hexdigest()


class Cassette:
    """The lines of one file.

    Args:
        path: the file; one that is not there has no lines.

    Raises:
        CassetteError: it cannot be read, or a line is damaged; the file is untouched.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.lines: dict[tuple[str, int], Line] = {}
        self.steps: dict[tuple[str, str, int], StepLine] = {}
        self._read()

    def add(self, lines: Iterable[Line]) -> None:
        """Write *lines*, beside those of others and in place of earlier ones of the same request and number.

        Raises:
            CassetteError: the file cannot be written, or has been damaged since; it is untouched then.
        """
        self._add(lines, ())

    def add_steps(self, lines: Iterable[StepLine]) -> None:
        """Write lines of an exported run; see ``add``."""
        self._add((), lines)

    def _add(self, lines: Iterable[Line], steps: Iterable[StepLine]) -> None:
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise self._error(f"cannot be written: {error}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)  # others may add to the same file
            self._read()
            self.lines |= {(line.sha256, line.n): line for line in lines}
            self.steps |= {(line.agent_name, line.step, line.n): line for line in steps}
            self._replace()
            os.fsync(folder)
        except OSError as error:
            raise self._error(f"cannot be written: {error}") from error
        finally:
            os.close(folder)

    def _replace(self) -> None:
        lines = [*self.lines.values(), *self.steps.values()]
        text = b"".join(msgspec.json.encode(line, order="sorted") + b"\n" for line in lines)
        beside = self.path.with_name(f".{self.path.name}.new")
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def _read(self) -> None:
        self.lines, self.steps = {}, {}
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._error(f"cannot be read: {error}") from error
        for number, text in enumerate(data.splitlines(), 1):
            line = self._line(text, number)
            if isinstance(line, StepLine):
                self.steps[line.agent_name, line.step, line.n] = line
            else:
                self.lines[line.sha256, line.n] = line

    def _line(self, text: bytes, number: int) -> Line | StepLine:
        line: Line | StepLine
        try:
            if b'"step":' in text and "step" in msgspec.json.decode(text, type=dict):
                return msgspec.json.decode(text, type=StepLine)
            line = msgspec.json.decode(text, type=Line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._error(f"is damaged in line {number}: {error}", number) from error
        if _digest(line.request) != line.sha256:
            raise self._error(f"is damaged in line {number}: the request is not the one of its sha256", number)
        return line

    def _error(self, text: str, line: int | None = None) -> CassetteError:
        return CassetteError(f"cassette {str(self.path)!r} {text}", path=str(self.path), line=line)


def first_difference(before: Any, now: Any, path: str = "") -> str:
    """Return where two plain values first differ and what stands there, or "" when they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in [*before, *(name for name in now if name not in before)]:
            if name not in before or name not in now:
                return f"{path}{'.' * bool(path)}{name}: {'recorded' if name in before else 'now'} only"
            if found := first_difference(before[name], now[name], f"{path}{'.' * bool(path)}{name}"):
                return found
        return ""
    if isinstance(before, list) and isinstance(now, list):
        for number, (old, new) in enumerate(zip(before, now, strict=False)):
            if found := first_difference(old, new, f"{path}[{number}]"):
                return found
        return f"{path}: recorded {len(before)}, now {len(now)}" if len(before) != len(now) else ""
    if type(before) is type(now) and before == now:
        return ""
    if isinstance(before, str) and isinstance(now, str):
        same = common_length(before, now)
        before, now = (text[max(0, same - BEFORE) : same + AFTER] for text in (before, now))
    return f"{path}: recorded {before!r:.200}, now {now!r:.200}"


def common_length(one: str, other: str) -> int:
    """Return how many characters two texts begin with together."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (old, new) in pairs if old != new), min(len(one), len(other)))
