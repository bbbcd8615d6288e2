"""CrewAI: a hierarchical crew on a model that answers at once."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

os.environ |= {"CREWAI_DISABLE_TELEMETRY": "true", "OTEL_SDK_DISABLED": "true", "CREWAI_TRACING_ENABLED": "false"}

from crewai import Agent, Crew, Process, Task
from crewai.llms.base_llm import BaseLLM

from benchmarks.common import percentile

OWNERS = ("Researcher", "Lead", "Developer", "Developer", "Reviewer", "Developer", "Reviewer")


class Fake(BaseLLM):
    """Says that it is done, and counts how often it is asked."""

    asked: ClassVar[list[int]] = [0]

    def call(self, *messages: Any, **options: Any) -> str:
        """Answer."""
        Fake.asked[0] += 1
        return "Thought: I now can give a great answer\nFinal Answer: done"

    def supports_function_calling(self) -> bool:
        """It calls no functions."""
        return False

    def get_context_window_size(self) -> int:
        """Tokens."""
        return 8192


def whole(count: int) -> dict[str, float]:
    """Return the milliseconds of seven tasks under a manager, without a journal, and the calls of the model they make."""
    crew = _crew()
    taken = []
    for _ in range(count + 1):
        Fake.asked[0] = 0
        begun = time.perf_counter()
        crew.kickoff()
        taken.append((time.perf_counter() - begun) * 1e3)
    return {"whole_p50_ms": percentile(taken[1:], 0.5), "calls": Fake.asked[0]}


def _crew() -> Crew:
    agents = {
        role: Agent(role=role, goal="Do it well", backstory="One of a team", llm=Fake(model="fake"), verbose=False)
        for role in dict.fromkeys(OWNERS)
    }
    tasks = [
        Task(description=f"Part {number}", expected_output="text", agent=agents[owner])
        for number, owner in enumerate(OWNERS)
    ]
    return Crew(
        agents=list(agents.values()),
        tasks=tasks,
        process=Process.hierarchical,
        manager_llm=Fake(model="fake"),
        verbose=False,
    )
