"""The report of a run in a file, and the files that its agents handed in beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from shoal.boxes.logs import visible
from shoal.cli.costs import cost_rows, money
from shoal.cli.show import text_of
from shoal.errors import ConfigError
from shoal.kernel.run import RunRecord, RunStep
from shoal.orchestration.workflow.markdown import bullets, table, words
from shoal.orchestration.workflow.writing import write_beside

__all__ = ["Report", "check_writable", "file_name", "files_folder", "plain_result", "write_files"]

_FIRST = ("run_id", "success", "stopped", "error", "content", "ready")


def file_name(run_id: str) -> str:
    """Return the name that files of a run have: its id, with what no file may be called percent-encoded."""
    name = quote(run_id, safe=" @+=,;()[]{}!$'~")
    return f"%2E{name[1:]}" if name.startswith(".") else name


def files_folder(report: Path, run_id: str) -> Path:
    """Return where handed-in files go: beside the report."""
    return report.parent / file_name(run_id)


def check_writable(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Raise ConfigError unless *path* can be written, with one of *suffixes* if there are any."""
    if suffixes and path.suffix not in suffixes:
        raise ConfigError(f"the report {str(path)[:200]!r} must end in {' or '.join(suffixes)}")
    folder = path.absolute().parent
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if not folder.is_dir():
            raise NotADirectoryError(f"there is no folder {str(folder)[:200]!r}")
        with tempfile.TemporaryFile(dir=folder):
            pass
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError("it is not writable")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{str(path)[:200]!r} cannot be written: {reason}") from error


def plain_result(result: Any) -> dict[str, Any]:
    """Return a result as one JSON object with every field, also those that have their default, and its cost in USD."""
    if not isinstance(result, msgspec.Struct):
        return {"success": True, "content": msgspec.to_builtins(result, enc_hook=_plain)}
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    first = {name: fields.pop(name) for name in _FIRST if name in fields}
    cost = float(getattr(result, "total_cost", 0.0))
    whole: dict[str, Any] = msgspec.to_builtins({**first, "total_cost": cost, **fields}, enc_hook=_plain)
    return whole


def _plain(value: Any) -> Any:
    """Return what a result holds that is no record of ours."""
    dump = getattr(value, "model_dump", None)
    return str(value) if dump is None else dump(mode="json")


class Report:
    """The report of one run.

    Args:
        record: the run, as it is stored.
        steps: its steps.
        result: what it returned.
    """

    def __init__(self, record: RunRecord, steps: Sequence[RunStep], result: Any) -> None:
        self._record = record
        self._steps = steps
        self._result = result

    def write(self, path: Path) -> None:
        """Write it as Markdown or JSON, by the suffix: beside *path*, then renamed. Raises OSError."""
        write_beside(path, self.to_json() if path.suffix == ".json" else self.to_markdown())

    def to_json(self) -> str:
        """Return the result as JSON; ``msgspec.json.decode(text, type=type(result))`` gives it back."""
        return msgspec.json.format(msgspec.json.encode(plain_result(self._result)), indent=2).decode() + "\n"

    def to_markdown(self) -> str:
        """Return task, result, costs and who said what. Words of models are quoted: no heading in them is one of ours."""
        own: Callable[[], str] | None = getattr(self._result, "to_markdown", None)
        if own is not None:  # a workflow says all this itself, and more
            return own()
        result, record = self._result, self._record
        parts = [f"# {words(record.pattern)}: {self._outcome()}", self._facts()]
        parts += ["## Task", _quoted(_words(record.input))]
        parts += ["## Result", _quoted(str(getattr(result, "content", result)))]
        if warnings := getattr(result, "warnings", ()):
            parts += ["## Warnings", bullets(warnings)]
        if rows := cost_rows(self._steps):
            parts += ["## Cost", table(("agent", "model", "calls", "input", "output", "cost"), _plain_rows(rows))]
        if said := [_said(step) for step in self._steps if step.kind in ("model", "chat") and step.finished_at]:
            parts += ["## Who said what", *said]
        return "\n\n".join(parts) + "\n"

    def _outcome(self) -> str:
        stopped = getattr(self._result, "stopped", None)
        if stopped:
            return f"stopped ({stopped})"
        return "completed" if getattr(self._result, "success", True) else "failed"

    def _facts(self) -> str:
        result, usage = self._result, self._record.usage
        took = float(getattr(result, "total_duration_ms", 0.0)) / 1000
        rows: list[tuple[object, ...]] = [("run", self._record.run_id), ("took", f"{took:.1f} s")]
        rows.append(("cost", money(usage)))
        rows.append(("calls, tokens", f"{usage.calls}, {usage.tokens}"))
        if error := getattr(result, "error", None):
            rows.append(("reason", error))
        return table(("", ""), _plain_rows(rows))


def _said(step: RunStep) -> str:
    who = f"**{words(step.agent_name)}** ({words(step.key.rpartition('/')[0])})"
    if step.error is not None:
        return f"{who}: failed\n\n{_quoted(step.error.text)}"
    return f"{who}:\n\n{_quoted(_words(step.output))}"


def _words(value: object) -> str:
    """Return what an answer, or an input, says."""
    if isinstance(value, Mapping):
        text = value.get("text") or value.get("content") or value.get("task")
        calls = [f"calls {call.get('name')} {call.get('arguments')}" for call in value.get("tool_calls") or ()]
        if text or calls:
            return "\n".join([*([str(text)] if text else []), *calls])
    return text_of(value)


def _quoted(text: str) -> str:
    """Return *text* as a quotation in Markdown, which ends where it ends."""
    return "\n".join(f"> {line}".rstrip() for line in visible(text).splitlines() or [""])


def _plain_rows(rows: Sequence[Sequence[object]]) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in rows]


def write_files(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write handed-in files below *folder*, each beside its name and renamed.

    Returns:
        Why some were not written, each with its name: its folder is a file of another hand-in, or a link leads elsewhere.

    Raises OSError: there can be no *folder*.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder.resolve()
    faults = []
    for name, text in files.items():
        try:
            _write_below(root, name, text)
        except (OSError, ValueError) as error:
            faults.append(f"{name[:200]!r}: {getattr(error, 'strerror', None) or error}")
    return faults


def _write_below(root: Path, name: str, text: str) -> None:
    path = root / name
    if not path.is_relative_to(root) or ".." in path.parts or not path.parent.resolve().is_relative_to(root):
        raise PermissionError(f"it would be written outside of {str(root)[:200]!r}")
    write_beside(path, text)
