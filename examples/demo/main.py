"""A team builds a user authentication API; ``make demo`` starts this.

    python examples/demo/main.py [--out OUT] [--model PROVIDER:NAME] [--crash] [--isolation LEVEL] [--pace SECONDS]

A lead, a researcher, two developers and a reviewer plan, write code, have its tests run in a box, review it, correct it, and
hand in a report. Without ``--model`` (or ``MODEL=``) the models are scripted, but their code and its tests are real. With
``--crash`` (or ``CRASH=1``) the process that runs the team is killed in the middle, by SIGKILL, and started again with the
same run id: nothing that was answered is asked again.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
LEVELS = ("auto", "microvm", "gvisor", "bubblewrap", "process")


def main() -> int:
    """Run the demo; return 0 when the team's work is ready."""
    args = parse_arguments()
    out = args.out.resolve()
    state = out / ".state"
    shutil.rmtree(state, ignore_errors=True)  # each demo begins anew
    state.mkdir(parents=True)
    plan = {
        "out": str(out),
        "state": str(state),
        "model": args.model,
        "isolation": args.isolation,
        "pace": args.pace,
    }
    if args.crash:
        died = live({**plan, "crash": True})
        if died.returncode != -signal.SIGKILL:
            return died.returncode
        print("\n>>> The process was killed by SIGKILL. Another one goes on with the same run id.\n", flush=True)
    return live(plan).returncode


def parse_arguments() -> argparse.Namespace:
    """Return out, model, crash, isolation and pace."""
    given = os.environ
    parser = argparse.ArgumentParser(description="A team of agents builds a user authentication API.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where all that is made goes (default: ./out)")
    parser.add_argument("--model", default=given.get("MODEL") or None, help="provider:name (default: scripted)")
    crash = given.get("CRASH", "") not in ("", "0")
    parser.add_argument("--crash", action="store_true", default=crash, help="kill -9 in the middle, and go on")
    level = given.get("ISOLATION") or given.get("SHOAL_ISOLATION") or "auto"
    told = "where handed-in code runs (default: auto, behind the strongest walls here)"
    parser.add_argument("--isolation", default=level, help=told)
    parser.add_argument("--pace", type=float, default=0.4, help="seconds that a scripted model thinks (default: 0.4)")
    args = parser.parse_args()
    if args.isolation not in LEVELS:
        parser.error(f"isolation is one of {', '.join(LEVELS)}, not {args.isolation!r}")
    return args


def live(plan: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    """Run the team in a process of its own, until its end."""
    return subprocess.run([sys.executable, str(HERE / "life.py"), json.dumps(plan)], check=False)


if __name__ == "__main__":
    sys.exit(main())
