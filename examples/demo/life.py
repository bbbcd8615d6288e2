"""One life of the demo's team: a process that may be killed at any moment, and goes on when it is started again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from shoal import AgentRuntime, Budget, RunNotFoundError, ShoalError, probe_isolation
from shoal.orchestration import Plan, TraceEntry, WorkflowReport, WorkStep, trace_text
from shoal.testing import kill_at_nth

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from auth_team.script import script
from auth_team.team import BRIEF, build_team

RUN_ID = "auth-1"
KILLED_AT = 16
"""The step at which a life with ``crash`` ends: the developer is just going to be asked to mend what the review found."""
DOES = {
    "Orchestrator": "plans, designs, decides, sums up",
    "Researcher": "looks up what is known",
    "Developer": "writes code and tests; a second one stands by",
    "Reviewer": "judges, and closes what it found",
}
BUDGET = Budget(max_cost=2.00, max_calls=60, unpriced="allow")  # a model behind a gateway may have no known price
COLORS = {"Orchestrator": "cyan", "Researcher": "magenta", "Developer": "green", "Reviewer": "yellow"}


class Life:
    """One life."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.plan = plan
        self.out, self.state = Path(plan["out"]), Path(plan["state"])
        self.calls = self.state / "calls.jsonl"
        self.shown = self.state / "shown.txt"  # what earlier lives have printed
        self.console = Console(highlight=False, soft_wrap=True)

    async def live(self) -> int:
        """Begin, or go on; return the exit code."""
        level = await self.level()
        if level is None:
            return 1
        model = self.plan["model"] or script(self.calls, self.plan["pace"])
        async with AgentRuntime(self.state / "shoal.db", config={"lease_seconds": 2}) as runtime:
            team = build_team(model, runtime.code_runner(level))
            before = answered(runtime)
            if before is None:
                self.introduce(level)
            if self.plan.get("crash"):
                kill_at_nth(KILLED_AT, "before")
            handle = runtime.run(team, BRIEF, run_id=RUN_ID, budget=BUDGET)
            with self.console.status("") as status:  # on a terminal alone
                async for event in handle.events():
                    if event.type == "step_started" and event.data["kind"] in ("model", "code"):
                        who = event.agent_name or f"The tests run ({level})"
                        status.update(f"{who} …")
                    self.tell(event.type, event.data)
            report = await handle
        self.conclude(report, level, before)
        return 0 if report.ready else 1

    async def level(self) -> str | None:
        """Return where code runs: behind the strongest walls that there are, never silently behind none."""
        wanted: str = self.plan["isolation"]
        if wanted != "auto":
            return wanted
        with self.console.status("Looking for the strongest walls of this machine …"):
            found = await probe_isolation()
        walls = [level for level, result in found.items() if result.works and level != "process"]
        if walls:
            return walls[-1]
        self.console.print("No sandbox works on this machine:", style="yellow")
        for level, result in found.items():
            if level != "process":
                self.console.print(f"  {level}: {result.reason}")
        if self.plan["model"]:
            self.console.print(
                "Code of a real model is not run without one. If you trust it: make demo ISOLATION=process"
            )
            return None
        self.console.print("The code of this demo is its own: it asks for a plain process, by name.\n", style="yellow")
        return "process"

    # -- what is shown

    def introduce(self, level: str) -> None:
        """Say who is there."""
        model = self.plan["model"] or "scripted"
        self.show("The team", [(name, f"{does} ({model})") for name, does in DOES.items()])
        self.console.print(f"Handed-in code runs in: {level}. Run id: {RUN_ID}.\n")

    def tell(self, kind: str, data: dict[str, Any]) -> None:
        """Print what happens, if no earlier life has."""
        key = str(data.get("key"))
        known = self.shown.read_text().splitlines() if self.shown.exists() else []
        if "key" not in data or key in known:
            return
        if kind == "plan":
            plan = Plan(tuple(msgspec.convert(data["plan"], list[WorkStep])))
            self.console.print(Text.assemble(("[Orchestrator] Plan:", COLORS["Orchestrator"]), f"\n{plan.to_text()}\n"))
        else:
            head, *lines = trace_text([msgspec.convert(data, TraceEntry)]).splitlines()
            self.console.print(Text(head, COLORS.get(data.get("sender", ""), "white")))
            self.console.print(Text("\n".join([*lines, ""])))
        with self.shown.open("a") as file:
            file.write(f"{key}\n")

    def show(self, title: str, rows: list[tuple[str, str]]) -> None:
        """Print a table."""
        self.console.print(Text(title, "bold"))
        for name, value in rows:
            self.console.print(Text.assemble(f"  {name:13} ", (value, COLORS.get(name, ""))))

    def conclude(self, report: WorkflowReport, level: str, before: int | None) -> None:
        """Write what there is now, and say what it is."""
        folder = self.out / str(BRIEF.known["project"])
        for path, text in report.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        rows = []
        if report.tests is not None:
            rows.append(
                ("tests", f"{report.tests.passed} of {report.tests.total} passed, {report.tests.source} ({level})")
            )
        if report.coverage is not None:
            rows.append(("coverage", f"{report.coverage:.1f} %"))
        if report.reviews:
            rows.append(("reviews", " → ".join(f"{each.review.score}/100" for each in report.reviews)))
        rows += [(f"issue {each.id}", f"{each.title} ({each.severity}): {each.status}") for each in report.issues]
        rows.append(("model calls", f"{report.usage.calls} for ${report.total_cost:.2f}{self.lives(report, before)}"))
        rows.append(("report", near(report.write(self.out / "report.md"))))
        if report.files:
            rows.append(("files", " ".join(near(folder / path) for path in report.files)))
        self.show("What came of it", rows)
        if report.ready:
            self.console.print(Text("Ready for deployment", "bold green"))
        else:
            self.console.print(Text(f"Not ready: {'; '.join(report.not_ready)}", "bold red"))
        if report.tests is not None:
            self.console.print(f"Run its tests yourself: cd {near(folder)} && python3 -m unittest")

    def lives(self, report: WorkflowReport, before: int | None) -> str:
        """Return how many calls were made before the kill, and whether any was made again."""
        if before is None:
            return ""
        told = f"; {before} before the kill, {report.usage.calls - before} after it"
        if self.calls.exists():
            made = Counter(json.loads(line)["key"] for line in self.calls.read_text().splitlines())
            told += f", {sum(number > 1 for number in made.values())} twice"
        return told


def near(path: Path) -> str:
    """Return a path as it is seen from here."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def answered(runtime: AgentRuntime) -> int | None:
    """Return how many calls of models are on record; None: the run was never begun."""
    try:
        runtime.runs.get(RUN_ID)
    except RunNotFoundError:
        return None
    return sum(step.kind == "model" and step.finished_at is not None for step in runtime.runs.steps(RUN_ID))


if __name__ == "__main__":
    try:
        from uvloop import run  # faster where it is installed
    except ImportError:
        from asyncio import run
    try:
        sys.exit(run(Life(json.loads(sys.argv[1])).live()))
    except ShoalError as error:  # no such model, no key, no such walls: it says what to do
        sys.exit(f"{type(error).__name__}: {error}")
