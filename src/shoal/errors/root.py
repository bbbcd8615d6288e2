"""The root of the tree."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ShoalError", "nearest"]


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word most like *word*, or an empty text."""
    import difflib  # every process of Shoal loads the errors; few misspell a word

    match = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {match[0]!r}?" if match else ""


class ShoalError(Exception):
    """The root of all errors that Shoal raises on purpose."""

    def __init__(self, text: str = "", *, note: str | None = None) -> None:
        super().__init__(text)
        if note:
            self.add_note(note)

    def __reduce__(self) -> tuple[object, ...]:
        """Errors with keyword arguments copy and pickle by their state, not by their arguments."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(cls: type[ShoalError], args: tuple[object, ...], state: dict[str, object]) -> ShoalError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error
