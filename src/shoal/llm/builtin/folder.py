"""A folder that a model may search and read, and nothing beside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from shoal.errors import ConfigError, ToolError
from shoal.llm.builtin.naming import free_name
from shoal.llm.toolcontext import ToolContext
from shoal.llm.tools import Tool

__all__ = ["Folder", "folder_tools"]

MOST_HITS = 100
MOST_LINES = 400
MOST_CHARS = 16_000
MOST_ENTRIES = 500
LINE_CHARS = 300
_FILE_BYTES = 2 << 20
_ALL_BYTES = 256 << 20
_ALL_FILES = 20_000
_SECONDS = 30.0


def folder_tools(folder: Path, taken: Collection[str] = ()) -> tuple[Tool, Tool]:
    """Return the tools ``search_NAME`` and ``read_NAME`` for the folder NAME.

    They follow no symbolic link and know no hidden file or folder (``.env``, ``.git``), and read text only.

    Args:
        folder: an absolute path.
        taken: names that other tools have.

    Raises:
        ConfigError: there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {str(folder)[:200]}")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(f"the folder {str(folder)[:200]} cannot be read")
    place = Folder(str(folder))
    about = f"below the folder {folder.name or '/'!r}"
    search = Tool(
        place.search,
        name=free_name("search", folder.name, taken),
        description=f"Find the lines with a text in the files {about}, upper and lower case alike.",
        isolation="thread",
        timeout=_SECONDS,
    )
    read = Tool(
        place.read,
        name=free_name("read", folder.name, taken),
        description=f"Return lines of a text file {about}; of a folder, what is in it.",
        isolation="thread",
        timeout=_SECONDS,
    )
    return search, read


class Folder:
    """What is below the folder *root*."""

    def __init__(self, root: str) -> None:
        self._root = root

    def search(self, context: ToolContext, text: str, path: str = "") -> str:
        """Return the lines with *text*.

        Args:
            text: what to look for, as it is: no pattern.
            path: a folder or file to search in place of all, relative.
        """
        if not text.strip():
            raise ToolError("text is empty: say what to look for")
        wanted, hits, rest = text.casefold(), list[str](), _ALL_BYTES
        for number, (name, size) in enumerate(self._files(_parts(path))):
            if context.cancelled() or number >= _ALL_FILES or rest <= 0:
                hits.append(f"[not everything was searched: {number} files were]")
                break
            if size > _FILE_BYTES:
                continue
            rest -= size
            hits += [f"{name}:{line}" for line in _hits(self._text(name), wanted)]
            if len(hits) >= MOST_HITS:
                hits[MOST_HITS:] = [f"[there are more: the first {MOST_HITS} lines]"]
                break
        return "\n".join(hits) or f"{text[:80]!r} is nowhere in it"

    def read(self, path: str = "", first_line: int = 1, lines: int = MOST_LINES) -> str:
        """Return lines of a file, or the names in a folder.

        Args:
            path: relative; empty: the folder itself.
            first_line: from 1.
            lines: how many, at most 400.
        """
        parts = _parts(path)
        descriptor = self._open(parts)
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                return _listed(descriptor)
            text = _decoded(descriptor, path)
        finally:
            os.close(descriptor)
        first, count = max(1, first_line), max(1, min(lines, MOST_LINES))
        every = text.splitlines()
        shown, size = list[str](), 0
        for line in every[first - 1 : first - 1 + count]:
            size += len(line) + 1
            if size > MOST_CHARS:
                shown = shown or [line[:MOST_CHARS]]
                break
            shown.append(line)
        last = first + len(shown) - 1
        more = f"\n[lines {first} to {last} of {len(every)}]" if first > 1 or last < len(every) else ""
        return "\n".join(shown) + more

    def _text(self, name: str) -> str:
        try:
            descriptor = self._open(name.split("/"))
        except ToolError:  # it was there a moment ago
            return ""
        try:
            return _decoded(descriptor, name)
        except ToolError:  # no text
            return ""
        finally:
            os.close(descriptor)

    def _open(self, parts: list[str]) -> int:
        """Open what is at *parts* for reading: step by step, so that no link, however it came there, leads elsewhere."""
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in parts:
            try:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=descriptor)
            except OSError as error:
                raise ToolError(f"{'/'.join(parts)[:200]!r} cannot be opened: {_reason(error)}") from error
            finally:
                os.close(descriptor)
            descriptor = inner
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            os.close(descriptor)
            raise ToolError(f"{'/'.join(parts)[:200]!r} is no file and no folder")
        return descriptor

    def _files(self, parts: list[str]) -> Iterator[tuple[str, int]]:
        """Yield the files at or below *parts*, in order, with their sizes."""
        descriptor = self._open(parts)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode):
                yield "/".join(parts), found.st_size
                return
            entries = _entries(descriptor)
        finally:
            os.close(descriptor)
        for name, size in entries:
            if size is not None:
                yield "/".join([*parts, name]), size
        for name, size in entries:
            if size is None:
                yield from self._below([*parts, name])

    def _below(self, parts: list[str]) -> Iterator[tuple[str, int]]:
        try:
            yield from self._files(parts)
        except ToolError:  # it may not be read, or is gone
            return


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or "\0" in path or any(part.startswith(".") for part in parts):
        raise ToolError(f"{path[:200]!r}: a path is relative, stays in the folder, and names nothing hidden")
    return parts


def _entries(descriptor: int) -> list[tuple[str, int | None]]:
    """Return what is in a folder and not hidden, by name: files with their size, folders with None, no links."""
    found: list[tuple[str, int | None]] = []
    with os.scandir(descriptor) as scan:
        for entry in scan:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                found.append((entry.name, None))
            elif entry.is_file(follow_symlinks=False):
                found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
    return sorted(found)


def _listed(descriptor: int) -> str:
    entries = _entries(descriptor)
    lines = [f"{name}/" if size is None else f"{name} ({size} bytes)" for name, size in entries[:MOST_ENTRIES]]
    if len(entries) > MOST_ENTRIES:
        lines.append(f"[{len(entries)} entries: the first {MOST_ENTRIES}]")
    return "\n".join(lines) or "[it is empty]"


def _decoded(descriptor: int, path: str) -> str:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        data = file.read(_FILE_BYTES + 1)
    if len(data) > _FILE_BYTES:
        raise ToolError(f"{path[:200]!r} has more than {_FILE_BYTES >> 20} MiB")
    if b"\0" in data:
        raise ToolError(f"{path[:200]!r} is no text")
    return data.decode("utf-8", "replace")


def _hits(text: str, wanted: str) -> Iterator[str]:
    if wanted not in text.casefold():
        return
    for number, line in enumerate(text.splitlines(), 1):
        if wanted in line.casefold():
            yield f"{number}: {line.strip()[:LINE_CHARS]}"


def _reason(error: OSError) -> str:
    return "it is a link, and links are not followed" if error.errno in (40, 20) else (error.strerror or str(error))
