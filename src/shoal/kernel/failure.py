"""What an agent's code raised, in a form that can be stored and sent."""

from __future__ import annotations

import traceback

import msgspec

__all__ = ["Failure", "RemoteError", "as_ordinary"]

TRACEBACK_BYTES = 8192
MESSAGE_CHARS = 2000


class RemoteError(Exception):
    """An error of an agent in another process or box whose class does not exist here. Text and class names are kept."""

    def __init__(self, error_type: str, text: str, *, bases: tuple[str, ...] = (), traceback_text: str = "") -> None:
        self.error_type = error_type
        self.error_bases = bases or (error_type,)
        self.traceback_text = traceback_text
        super().__init__(text)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error as data. ``bases`` are the names of its class and all bases, for ``retry_on`` and ``never_on``."""

    error_type: str
    message: str
    bases: tuple[str, ...]
    traceback: str = ""

    @property
    def text(self) -> str:
        """Class and message on one line."""
        return f"{self.error_type}: {self.message}"

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe *error*; one from another process is described as it was there."""
        if isinstance(error, RemoteError):
            return msgspec.structs.replace(cls.brief(error), traceback=error.traceback_text[-TRACEBACK_BYTES:])
        return msgspec.structs.replace(cls.brief(error), traceback=_printable(_traceback_of(error)[-TRACEBACK_BYTES:]))

    @classmethod
    def brief(cls, error: BaseException) -> Failure:
        """Describe *error* without its traceback, which takes longest to write."""
        message = _text_of(error)
        if isinstance(error, RemoteError):
            return cls(error_type=error.error_type, message=message, bases=tuple(error.error_bases))
        return cls(
            error_type=type(error).__name__,
            message=message,
            bases=tuple(base.__name__ for base in type(error).__mro__ if base not in (object, BaseException)),
        )


def as_ordinary(error: BaseException) -> RemoteError:
    """Return an ordinary error that stands for one that is none (SystemExit, GeneratorExit …), raised by an agent's code."""
    failure = Failure.of(error)
    return RemoteError(failure.error_type, failure.message, bases=failure.bases, traceback_text=failure.traceback)


def _text_of(error: BaseException) -> str:
    """Return the error's text; one whose ``__str__`` fails has none of its own."""
    try:
        return _printable(str(error)[:MESSAGE_CHARS])
    except Exception as broken:  # noqa: BLE001  the class's own code
        return f"(its text cannot be printed: {type(broken).__name__})"


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001  the class's own code
        return "".join(traceback.format_tb(error.__traceback__))


def _printable(text: str) -> str:
    """Return *text* with lone surrogates (file names that are no UTF-8) replaced."""
    return text.encode("utf-8", "replace").decode()
