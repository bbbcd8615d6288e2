"""What a tool gives back, as the text that a model reads."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.kernel.failure import Failure
from shoal.kernel.payload import checked

__all__ = ["Outcome", "cut", "failed", "presented"]

HEAD_SHARE = 0.7


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How running a tool went: the whole text, what was wrong, and what a reader of the run should be warned of."""

    content: str
    error: str | None = None
    warning: str = ""


def presented(value: Any, name: str) -> Outcome:
    """Return a tool's value as text: text as it is, other values as JSON, and what is no JSON value by its ``repr``."""
    if isinstance(value, str):
        return Outcome(content=_printable(value))
    try:
        plain, raw = checked(msgspec.to_builtins(value, str_keys=True, enc_hook=_plain), "result")
    except Exception as error:  # noqa: BLE001  whatever its classes raise on the way
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        warning = f"tool {name!r} returned {type(value).__name__}, which is no JSON value ({what}): its repr was used"
        return Outcome(content=_repr(value), warning=warning)
    return Outcome(content=raw.decode() if not isinstance(plain, str) else plain)


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(f"{type(value).__name__} has no JSON form")
    return dump(mode="json")


def _repr(value: Any) -> str:
    try:
        return _printable(repr(value))
    except Exception as error:  # noqa: BLE001  the class's own code
        return f"<{type(value).__name__}, whose repr failed: {type(error).__name__}>"


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def failed(error: str | BaseException) -> Outcome:
    """Return the outcome of a run that failed, as the model is told it."""
    text = error if isinstance(error, str) else Failure.of(error).text.removesuffix(": ")
    return Outcome(content=f"Error: {text}", error=text)


def cut(text: str, most: int) -> str:
    """Return at most *most* characters of *text*, and a count of what is left out of its middle."""
    left_out = len(text) - most
    if left_out <= 0:
        return text
    head = round(most * HEAD_SHARE)
    return f"{text[:head]}\n[… {left_out} characters left out …]\n{text[len(text) - (most - head) :]}"
