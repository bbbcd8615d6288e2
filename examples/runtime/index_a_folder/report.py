"""The report: everything as JSON, the gist as Markdown. The same input gives the same bytes; no time is in it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["as_json", "as_markdown"]


def as_json(title: str, files: Sequence[dict[str, Any]], links: Sequence[dict[str, str]]) -> str:
    """Return the whole index."""
    index = {"folder": title, "totals": _totals(files, links), "files": files, "links": links}
    return json.dumps(index, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def as_markdown(title: str, files: Sequence[dict[str, Any]], links: Sequence[dict[str, str]]) -> str:
    """Return the report for readers."""
    totals = _totals(files, links)
    lines = [f"# What is in {_cell(title)}", ""]
    sizes = f"{totals['files']} files, {totals['lines']:,} lines, {totals['words']:,} words, {totals['links']} links."
    lines += [sizes, ""]
    lines += ["## Languages", "", *_table(("language", "files", "lines", "words"), _languages(files)), ""]
    lines += ["## Terms in most files", "", ", ".join(f"{t} ({n})" for t, n in _common_terms(files)) or "none", ""]
    lines += ["## Files that others refer to most", "", *_table(("file", "referred to by"), _most_linked(links)), ""]
    faults = [file for file in files if file["fault"]]
    if faults:
        lines += ["## Not understood", "", *(f"- {_cell(file['path'])}: {_cell(file['fault'])}" for file in faults), ""]
    rows = (
        (f["path"], f["language"], f["lines"], f["words"], len(f["definitions"]), ", ".join(f["terms"][:4]))
        for f in files
    )
    lines += ["## Files", "", *_table(("file", "language", "lines", "words", "definitions", "terms"), rows)]
    return "\n".join(lines) + "\n"


def _totals(files: Sequence[dict[str, Any]], links: Sequence[dict[str, str]]) -> dict[str, int]:
    sums = {key: sum(file[key] for file in files) for key in ("lines", "words", "characters")}
    definitions = sum(len(file["definitions"]) for file in files)
    return {"files": len(files), **sums, "definitions": definitions, "links": len(links)}


def _languages(files: Sequence[dict[str, Any]]) -> list[tuple[object, ...]]:
    rows = []
    for language in sorted({file["language"] for file in files}):
        of_it = [file for file in files if file["language"] == language]
        rows.append((language, len(of_it), sum(f["lines"] for f in of_it), sum(f["words"] for f in of_it)))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _common_terms(files: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    counts = Counter(term for file in files for term in file["terms"])
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:15]


def _most_linked(links: Sequence[dict[str, str]]) -> list[tuple[object, ...]]:
    counts = Counter(link["to"] for link in links)
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    body = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *body]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
