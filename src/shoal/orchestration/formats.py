"""Several answers as one text for another agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["FORMATS", "labeled", "numbered", "plain", "xml"]

Said = Sequence[tuple[str, str]]
"""Names and texts, in order."""
_IN_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_IN_ATTRIBUTE = _IN_TEXT | str.maketrans({'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def numbered(said: Said) -> str:
    """Return ``N. [name]: text``, with a blank line between."""
    return "\n\n".join(f"{number}. [{name}]: {text}" for number, (name, text) in enumerate(said, start=1))


def labeled(said: Said) -> str:
    """Return ``**name**:``, a new line and the text, with ``---`` between."""
    return "\n\n---\n\n".join(f"**{name}**:\n{text}" for name, text in said)


def xml(said: Said) -> str:
    """Return ``<results><agent name="…">text</agent></results>``, which always parses."""
    agents = "".join(
        f'<agent name="{_attribute(name)}">{_legal(text).translate(_IN_TEXT)}</agent>' for name, text in said
    )
    return f"<results>{agents}</results>"


def plain(said: Said) -> str:
    """Return the texts alone."""
    return "\n\n".join(text for _, text in said)


def _attribute(text: str) -> str:
    return _legal(text).translate(_IN_ATTRIBUTE)


def _legal(text: str) -> str:
    """Return *text* with the characters that XML 1.0 forbids (section 2.2) replaced by U+FFFD."""
    return "".join(character if _allowed(ord(character)) else "\ufffd" for character in text)


def _allowed(code: int) -> bool:
    return code in (9, 10, 13) or 0x20 <= code <= 0xD7FF or 0xE000 <= code <= 0xFFFD or code >= 0x10000


FORMATS: dict[str, Callable[[Said], str]] = {"numbered": numbered, "labeled": labeled, "xml": xml, "plain": plain}
"""The formats of ``ParallelResult.to_context``, by name."""
