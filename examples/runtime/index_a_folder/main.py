"""A small team indexes the text and source files of a folder, and survives ``kill -9``.

    python examples/runtime/index_a_folder/main.py [FOLDER] [--out OUT] [--crash] [--pace SECONDS]

Three readers, an analyst in a process of its own, and a writer work on a task graph: read and analyse each file, find
the links, write ``report.md`` and ``index.json``. With ``--crash`` (or ``CRASH=1``) the process that runs them is
killed half-way and started again on the same store; the report is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from files import find_files
from rich.console import Console
from rich.table import Table
from tally import Book, Tally, read_effects, take_tally
from team import task_specs

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
LOOK_SECONDS = 0.005


def main() -> int:
    """Run the program; return 0 when every task was done."""
    args = parse_arguments()
    folder, out = args.folder.resolve(), args.out.resolve()
    if not folder.is_dir():
        print(f"{args.folder} is not a folder", file=sys.stderr)
        return 2
    files = find_files(folder, besides=out)
    if not files:
        print(f"{args.folder} has no text or source files", file=sys.stderr)
        return 2
    plan = write_plan(folder, out, files, args.pace)
    console = Console()
    console.print(f"{len(files)} files of {folder.name} for 3 readers, 1 analyst, 1 writer", highlight=False)
    began = time.monotonic()
    if args.crash:
        crash_half_way(plan, 2 * len(files) + 2, console)
    ended = subprocess.run(command(plan), check=False).returncode
    took = time.monotonic() - began
    if ended != 0:
        console.print(f"The team's process ended with {ended}")
        return 1
    state = plan.parent
    keys = [str(spec.key) for spec in task_specs(files)]
    tally = asyncio.run(take_tally(state / "shoal.db", state / "events.jsonl", state / "effects.log", keys))
    show(tally, console)
    console.print(f"Report: {out / 'report.md'}", soft_wrap=True, highlight=False)
    console.print(f"Index:  {out / 'index.json'}", soft_wrap=True, highlight=False)
    console.print(f"Took {took:.1f} s")
    good = tally.events.lost == tally.events.twice == tally.effects.lost == 0
    return 0 if good and tally.unexplained == 0 else 1


def parse_arguments() -> argparse.Namespace:
    """Return folder, out, crash and pace."""
    parser = argparse.ArgumentParser(description="Index a folder with a team of agents.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE.parents[2], help="default: this repository")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the report goes (default: ./out)")
    crash = os.environ.get("CRASH", "") not in ("", "0")
    parser.add_argument("--crash", action="store_true", default=crash, help="kill -9 half-way, and go on")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds that each analysis takes longer, to watch it")
    return parser.parse_args()


def write_plan(folder: Path, out: Path, files: list[str], pace: float) -> Path:
    """Begin anew: an empty state folder under *out*, with the plan in it."""
    state = out / ".state"
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    for name in ("report.md", "index.json"):
        (out / name).unlink(missing_ok=True)
    plan = state / "plan.json"
    effects = state / "effects.log"
    config = {"folder": str(folder), "out": str(out), "title": folder.name, "effects": str(effects), "pace": pace}
    plan.write_text(json.dumps({"store": str(state / "shoal.db"), "files": files, "config": config}))
    return plan


def command(plan: Path) -> list[str]:
    """Return the command of the process that runs the team."""
    return [sys.executable, str(HERE / "team.py"), str(plan)]


def crash_half_way(plan: Path, tasks: int, console: Console) -> None:
    """Start the team, and kill its process with SIGKILL when half of the tasks are done."""
    effects = plan.parent / "effects.log"
    with subprocess.Popen(command(plan)) as child:
        while (done := len(read_effects(effects))) < tasks // 2 and child.poll() is None:
            time.sleep(LOOK_SECONDS)
        if child.poll() is not None:
            console.print("The team was done before it could be killed")
            return
        os.kill(child.pid, signal.SIGKILL)
    console.print(f"Killed process {child.pid} with SIGKILL after {done} of {tasks} tasks; starting it again")


def show(tally: Tally, console: Console) -> None:
    """Print both books."""
    table = Table("", "done", "lost", "done twice", title=f"{tally.tasks} tasks")

    def row(name: str, book: Book) -> None:
        table.add_row(name, str(book.done), str(book.lost), str(book.twice))

    row("recorded as completed (events)", tally.events)
    row("executed (effect log)", tally.effects)
    console.print(table)
    if tally.interrupted:
        console.print(f"Attempts that the kill cut short, and that were made again: {tally.interrupted}")
        console.print(f"Executed twice without such a reason: {tally.unexplained}")


if __name__ == "__main__":
    sys.exit(main())
