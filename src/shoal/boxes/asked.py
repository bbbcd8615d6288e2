"""Checks of what a caller hands to a box or its runtime, before anything of it is on its way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from shoal.errors import BoxSpecError

__all__ = [
    "check_command",
    "check_env",
    "check_event_name",
    "check_handler",
    "check_seconds",
    "check_texts",
    "env_faults",
]


def check_handler(function: object, what: str) -> None:
    """Raise TypeError for what cannot be called."""
    if not callable(function):
        raise TypeError(f"{what} must be a function, not {function!r:.80}")


def check_event_name(name: object) -> None:
    """Raise TypeError for what is no name of an event, above all for a function: ``@on_event`` without its name."""
    if not isinstance(name, str) or not name:
        raise TypeError(f"on_event takes the name of an event, as in @on_event('done'), not {name!r:.80}")


def check_texts(what: str, *texts: object) -> None:
    """Raise BoxSpecError for what is no text, or has NUL or a lone surrogate in it."""
    faults = [
        f"{what} must be text without NUL and lone surrogates, not {text!r:.80}" for text in texts if not _is_text(text)
    ]
    if faults:
        raise BoxSpecError(faults)


def check_env(env: object, what: str = "env") -> dict[str, str]:
    """Return *env* (None: nothing). Raises BoxSpecError naming every fault."""
    faults = list(env_faults(env, what)) if env is not None else []
    if faults:
        raise BoxSpecError(faults)
    return dict(env) if isinstance(env, Mapping) else {}


def env_faults(env: object, what: str) -> Iterator[str]:
    """Yield what is wrong with variables of an environment."""
    if not isinstance(env, Mapping):
        yield f"{what} must map names to texts, not be {type(env).__name__}"
        return
    for name, value in env.items():
        if not _is_text(name) or not name or "=" in name or not _is_text(value):
            yield f"{what}: {name!r:.80} must be a name without '=' with a text without NUL"


def check_seconds(seconds: Any, what: str) -> None:
    """Raise BoxSpecError for what is neither None nor a number."""
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds != seconds
    ):
        raise BoxSpecError(f"{what} must be seconds or None, not {seconds!r:.80}")


def check_command(command: tuple[object, ...], stdin: object, cwd: object, max_output: object) -> None:
    """Raise BoxSpecError for what is no command, or cannot be given to one."""
    if not command or command[0] == "":
        raise BoxSpecError("exec needs a command, as in exec('ls', '-l')")
    check_texts("each word of a command", *command)
    if stdin is not None and not isinstance(stdin, (bytes, bytearray, memoryview, str)):
        raise BoxSpecError(f"stdin must be bytes or str, not {type(stdin).__name__}")
    if cwd is not None:
        check_texts("cwd", cwd)
    if isinstance(max_output, bool) or not isinstance(max_output, int) or max_output < 0:
        raise BoxSpecError(f"max_output must be a whole number of bytes from 0 up, not {max_output!r:.80}")


def _is_text(text: object) -> bool:
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
