"""A developer falls silent; after 30 minutes another one takes over, and everybody who waits is told.

Run it with: python examples/workflow/recovery.py
The time is virtual: when nothing can go on, the clock jumps to what is due next. The half hour passes at once.
"""

from __future__ import annotations

from datetime import datetime

from shoal import Agent, AgentRuntime
from shoal.orchestration import Orchestrator, OrchestratorConfig, Plan, WorkflowReport, recovery_text
from shoal.testing import scripted
from shoal.testing.clock import VirtualClock, run_virtual

PLAN = Plan.from_text(
    """
    1. Implement code → Need Developer
    2. Security review → Need Reviewer
    """
)
CODE = "FILE: auth_api.py\n```python\nprint('authenticated')\n```\nHanded in."
APPROVED = '{"score": 98, "approved": true}'


class Developer:
    """A developer: any class with a name and a chat is an agent. This one says how it is; it is asked when it is late."""

    def __init__(self, name: str, clock: VirtualClock, seconds: float) -> None:
        self.name = name
        self.clock = clock
        self.seconds = seconds

    async def chat(self, message: str) -> str:
        """Hand in code, after a while."""
        await self.clock.sleep(self.seconds)
        return CODE

    async def health(self) -> str:
        """Tell how it is."""
        return "healthy" if self.seconds < 3600 else "unhealthy"


async def main(clock: VirtualClock) -> tuple[datetime, WorkflowReport]:
    silent, backup = Developer("Developer", clock, 1_000_000), Developer("Backup", clock, 5 * 60)
    team = Orchestrator(
        Agent(name="Lead", role="Plans and sums up", model=scripted(["The code is there, 5 minutes late."])),
        {"Developer": [silent, backup], "Reviewer": Agent(name="Reviewer", role="Reviews", model=scripted([APPROVED]))},
        plan=PLAN,
        config=OrchestratorConfig(task_timeout=30 * 60),
    )
    async with AgentRuntime(store="sqlite://:memory:", clock=clock) as runtime:
        began = clock.now()
        return began, await runtime.run(team, "Build user authentication API")


if __name__ == "__main__":
    began, report = run_virtual(main)
    recovery = report.recoveries[0]
    print(recovery_text(recovery))
    print()
    for action in recovery.actions:
        print(f"{(action.at - began).total_seconds() / 60:.0f} min  {action.text}")
    for record in report.steps:
        if record.due_at and record.finished_at:
            due, ended = ((at - began).total_seconds() / 60 for at in (record.due_at, record.finished_at))
            print(
                f"{record.step.title}: {record.status} by {record.instance} after {ended:.0f} min, due at {due:.0f} min"
            )
