"""What is larger than the limits. This list may only shrink; nothing new comes in without a reason."""

from __future__ import annotations

REASONS: dict[str, str] = {}

ALLOWED: dict[str, dict[str, int]] = {
    "file": {
        "runtime.py": 458,
        "testing/store_agents.py": 326,
    },
    "function": {
        "store/sql/agent_changes.py:register": 41,
        "store/sql/records.py:task_of": 42,
    },
    "parameters": {
        # The options of a command are the parameters of its function: that is how Typer reads them.
        "cli/call.py:call": 8,
        "cli/events.py:events": 10,
        "cli/export.py:export": 9,
        "cli/run.py:run": 17,
        "cli/tasks.py:submit": 14,
        "kernel/post.py:Post.send": 8,
    },
    "public methods": {
        "kernel/context.py:AgentContext": 21,
        "kernel/ports/tasks.py:TaskStore": 16,
        "kernel/verbs.py:Verbs": 22,
        "runtime.py:AgentRuntime": 31,
        "services/agent.py:ServiceAgent": 22,
        "store/sql/tasks.py:SqlTasks": 16,
        "testing/store_agents.py:AgentsContract": 18,
        "testing/store_mail.py:MailContract": 16,
    },
}
