"""Which files may be handed in or written: relative paths within bounds."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FILES_BYTES", "FILE_BYTES", "MOST_FILES", "check_files", "check_path"]

MOST_FILES = 200
"""How many files there may be at once."""
FILE_BYTES = 1 << 20
"""How many bytes one of them may have, in UTF-8."""
FILES_BYTES = 8 << 20
"""How many bytes they may have together."""
_PATH_CHARS = 240
_PART_BYTES = 255  # of a name, in the file systems of Linux


def check_path(path: str) -> None:
    """Raise ValueError unless *path* is a relative path of a file, with ``/`` between its parts and no ``..``."""
    fault = _fault_of(path)
    if fault:
        raise ValueError(f"the path {path[:_PATH_CHARS]!r} {fault}")


def _fault_of(path: str) -> str:
    if not path or len(path) > _PATH_CHARS:
        return f"must have 1 to {_PATH_CHARS} characters, not {len(path)}"
    if path.startswith("/") or path[1:3] == ":/":
        return "is absolute; paths are relative"
    if "\\" in path:
        return "has a backslash; parts are separated by '/'"
    if not path.isprintable():
        return "has a character that cannot be printed"
    parts = path.split("/")
    if ".." in parts:
        return "has '..'; it must not lead outside"
    if "" in parts or "." in parts:
        return "has an empty part or '.'; write it without"
    if any(len(part.encode()) > _PART_BYTES for part in parts):
        return f"has a name of over {_PART_BYTES} bytes"
    return ""


def check_files(files: Mapping[str, str]) -> None:
    """Raise ValueError, with the path in it, unless all of *files* (text by path) may lie beside each other."""
    if len(files) > MOST_FILES:
        raise ValueError(f"{len(files)} files, at most {MOST_FILES} are taken; the first too many is {_nth(files)!r}")
    total = 0
    for path, text in files.items():
        check_path(path)
        size = _size_of(path, text)
        if size > FILE_BYTES:
            raise ValueError(f"the file {path!r} has {size} bytes, at most {FILE_BYTES} (1 MiB) are taken")
        total += size
        if total > FILES_BYTES:
            raise ValueError(f"with {path!r} the files have {total} bytes, at most {FILES_BYTES} (8 MiB) are taken")
        folder = path.rpartition("/")[0]
        while folder:
            if folder in files:
                raise ValueError(f"the path {path!r} lies in {folder!r}, which is a file")
            folder = folder.rpartition("/")[0]


def _nth(files: Mapping[str, str]) -> str:
    return list(files)[MOST_FILES][:_PATH_CHARS]


def _size_of(path: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ValueError(f"the file {path!r} is no text: {error.reason} at character {error.start}") from None
