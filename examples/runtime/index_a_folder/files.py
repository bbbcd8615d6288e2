"""Which files of a folder the team reads, and in what language each is."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["LANGUAGES", "find_files", "language_of"]

LARGEST_BYTES = 1024 * 1024
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "venv", "build", "dist", "out"}
LANGUAGES = {
    ".c": "C",
    ".cfg": "INI",
    ".css": "CSS",
    ".go": "Go",
    ".h": "C",
    ".html": "HTML",
    ".ini": "INI",
    ".java": "Java",
    ".js": "JavaScript",
    ".json": "JSON",
    ".md": "Markdown",
    ".py": "Python",
    ".pyi": "Python",
    ".rs": "Rust",
    ".rst": "reStructuredText",
    ".sh": "Shell",
    ".sql": "SQL",
    ".toml": "TOML",
    ".ts": "TypeScript",
    ".txt": "Text",
    ".xml": "XML",
    ".yaml": "YAML",
    ".yml": "YAML",
}
PLAIN_NAMES = {"Makefile": "Make", "Dockerfile": "Docker", "LICENSE": "Text", "README": "Text"}


def language_of(path: str) -> str | None:
    """Return the language of a file by its extension or name; None for one that is not read."""
    name = os.path.basename(path)
    return PLAIN_NAMES.get(name) or LANGUAGES.get(os.path.splitext(name)[1].lower())


def find_files(folder: Path, besides: Path) -> list[str]:
    """Return the text and source files under *folder*, as sorted relative paths with ``/``.

    Hidden folders, folders of built things, the folder *besides*, links, files over 1 MiB, and files with strange names
    are left out.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in SKIPPED_FOLDERS and Path(place, name) != besides
        ]
        found += [path for path in (Path(place, name) for name in names) if _is_read(path)]
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _is_read(path: Path) -> bool:
    if not language_of(path.name) or not path.as_posix().isprintable() or path.is_symlink() or not path.is_file():
        return False
    return path.stat().st_size <= LARGEST_BYTES
