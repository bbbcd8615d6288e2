"""``python -m benchmarks [--only NAME ...] [--quick] [--runs N]``: measure, print the table, write it down.

See README.md for how to measure a part of it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    acceptance,
    boxes,
    buses,
    cli_view,
    code_runner,
    crash,
    growth,
    imports,
    latency,
    locks,
    memory,
    messages,
    models,
    nodes_failover,
    nodes_requests,
    nodes_restarts,
    nodes_tasks,
    postgres_store,
    process_agents,
    publish,
    run_memory,
    runs,
    services_directory,
    services_life,
    services_pick,
    services_requests,
    steps,
    tasks,
    workflow,
    workflow_text,
)
from benchmarks.report import Run, add_section, report, write
from benchmarks.runner import ROOT, measure

MEASUREMENTS = tuple(
    measurement
    for module in (
        tasks, latency, steps, messages, publish, process_agents, memory, growth, crash, imports, acceptance,
        boxes, buses, code_runner, locks, models, runs, run_memory, cli_view, workflow,
        workflow_text, services_requests, services_life, services_pick, services_directory,
        postgres_store, nodes_tasks, nodes_requests, nodes_failover, nodes_restarts,
    )
    for measurement in module.MEASUREMENTS
)  # fmt: skip

GROUPS = {"services": "Services", "postgres": "PostgreSQL", "bus": "Buses", "nodes": "Nodes"}
"""By what the names of its measurements begin with: the heading of the section of a whole group."""


def main() -> None:
    """Read the command line, measure, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Shoal beside its peers.")
    names = [measurement.name for measurement in MEASUREMENTS]
    choices = [*GROUPS, *names]
    parser.add_argument("--only", nargs="+", choices=choices, metavar="NAME", help=", ".join(choices))
    parser.add_argument("--quick", action="store_true", help="small numbers, one round: only to see that it works")
    parser.add_argument("--runs", type=int, default=5, help="rounds (5)")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-bench/bin/python", help="the peers' interpreter")
    parser.add_argument(
        "--out", type=Path, help="default benchmarks/RESULTS.md; with --only or --quick, nothing is written"
    )
    parser.add_argument("--add", action="store_true", help="with --only: a section of its own in RESULTS.md")
    given = parser.parse_args()
    run = Run(peers=given.peers, quick=given.quick, load=os.getloadavg()[0])
    measured = []
    for measurement in MEASUREMENTS:
        if given.only is None or _wanted(measurement.name, given.only):
            results = measure(
                measurement,
                peers=given.peers,
                runs=max(1, given.runs),
                quick=given.quick,
                tell=lambda line: print(line, file=sys.stderr, flush=True),
            )
            measured.append((measurement, results))
    if given.add and given.only:
        path = given.out or ROOT / "benchmarks/RESULTS.md"
        add_section(measured, run, path=path, heading=_heading(given.only))
        return
    text = report(measured, run)
    whole = given.only is None and not given.quick
    if given.out or whole:
        write(text, given.out or ROOT / "benchmarks/RESULTS.md")
    else:
        print(text)


def _wanted(name: str, only: Sequence[str]) -> bool:
    return any(name == each or (each in GROUPS and name.startswith((f"{each}_", f"{each}-"))) for each in only)


def _heading(only: Sequence[str]) -> str | None:
    return GROUPS.get(only[0]) if len(only) == 1 else None


if __name__ == "__main__":
    main()
