"""Reports as JSON and in files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shoal.orchestration.answers import sound

if TYPE_CHECKING:
    from shoal.orchestration.workflow.report import WorkflowReport

__all__ = ["check_target", "report_from_json", "report_json", "write_beside", "write_report"]

_SUFFIXES = (".md", ".json")
R = TypeVar("R", bound=msgspec.Struct)


def report_json(report: msgspec.Struct) -> str:
    """Return *report* as JSON, with an indentation of 2; what is as by default is left out."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()


def report_from_json(text: str | bytes, kind: type[R]) -> R:
    """Return the report that *text* is, equal to the one it was made from. Raises ValueError with the place of a fault."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ValueError(f"this is no {kind.__name__} as JSON: {error}") from error


def check_target(path: str | os.PathLike[str]) -> Path:
    """Return *path* if a report can be written there.

    Raises:
        ValueError: its name does not end in ``.md`` or ``.json``.
        OSError: it is a folder, there is no folder for it, or nothing may be written into that; the text names it.
    """
    target = Path(path)
    if target.suffix.lower() not in _SUFFIXES:
        raise ValueError(f"report path {str(target)!r:.300}: its name must end in {' or '.join(_SUFFIXES)}")
    folder = target.absolute().parent
    if target.is_dir():
        raise IsADirectoryError(f"report path {target}: it is a folder; give the name of a file")
    if not folder.is_dir():
        raise FileNotFoundError(f"report path {target}: there is no folder {folder}; make it, or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"report path {target}: nothing may be written into the folder {folder}")
    return target


def write_report(report: WorkflowReport, path: str | os.PathLike[str]) -> Path:
    """Write *report* to *path*, as Markdown or JSON by its suffix, and return the path. Raises as ``check_target``."""
    target = check_target(path)
    text = report.to_json() if target.suffix.lower() == ".json" else sound(report.to_markdown())
    return write_beside(target, text if text.endswith("\n") else f"{text}\n")


def write_beside(target: Path, text: str) -> Path:
    """Write *text* to a file beside *target* and rename it: whoever reads *target* sees all of it, or what was there.

    A folder that is missing is made. Raises OSError; UnicodeEncodeError: the text holds a lone surrogate.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{os.getpid()}.partial")
    try:
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target
