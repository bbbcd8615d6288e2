"""What a reader is shown of a run, gathered from its events alone: so it is the same here and in another process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shoal.boxes.logs import visible
from shoal.kernel.run import RunEvent
from shoal.kernel.usage import pico_of, usd_of

__all__ = ["AgentLine", "RunView", "said"]

_SPEAKING = ("model", "chat")  # the kinds of steps in which an agent answers
_TAIL = 2000
"""How many characters of a text under way are kept."""


@dataclass
class AgentLine:
    """One agent: its state, what it works on, and what it took so far."""

    name: str
    state: str = ""
    work: str = ""
    seconds: float = 0.0
    tokens: int = 0
    cost_pico: int = 0
    busy: dict[str, datetime] = field(default_factory=dict)  # its steps under way, by place, and since when

    @property
    def cost(self) -> float:
        """What its steps cost so far, in USD."""
        return usd_of(self.cost_pico)

    def busy_seconds(self, now: datetime) -> float:
        """Return how long it was at work until *now*, in seconds."""
        running = max(((now - since).total_seconds() for since in self.busy.values()), default=0.0)
        return self.seconds + max(0.0, running)


class RunView:
    """The state of a run as its events tell it. ``take`` each of them, in order.

    Args:
        run_id: of the run.
        messages: how many of the last messages are kept.

    Attributes:
        status: started, running, waiting, or how it ended; ``stopped`` tells why it ended early.
        agents: by name, in the order in which they came.
        messages: who said or did what, a line each.
        questions: what a person has to decide, by id.
        cost: in USD; ``max_cost`` is what it may cost at most, None: no limit.
    """

    def __init__(self, run_id: str, messages: int = 8) -> None:
        self.run_id = run_id
        self.pattern = ""
        self.status = "starting"
        self.stopped: str | None = None
        self.max_cost: float | None = None
        self.began: datetime | None = None
        self.last: datetime | None = None
        self.agents: dict[str, AgentLine] = {}
        self.messages: deque[str] = deque(maxlen=messages)
        self.questions: dict[str, str] = {}
        self._texts: dict[str, tuple[str, str]] = {}  # texts under way by place: whose, and its end
        self._cost_pico = 0
        self._tells = False  # whether the pattern itself tells who said what

    @property
    def cost(self) -> float:
        """What it cost so far, in USD."""
        return usd_of(self._cost_pico)

    @property
    def over(self) -> bool:
        """Whether this life of it has ended."""
        return self.status not in ("starting", "running", "waiting")

    @property
    def streaming(self) -> tuple[str, str] | None:
        """Whose text is shown while it comes, and its end: of those who speak, who began first."""
        return next(((who, tail) for who, tail in self._texts.values() if tail.strip()), None)

    def elapsed(self, now: datetime) -> float:
        """Return the seconds from its begin to its end, or to *now*."""
        if self.began is None:
            return 0.0
        until = self.last if self.over and self.last is not None else now
        return max(0.0, (until - self.began).total_seconds())

    def take(self, event: RunEvent) -> None:
        """Take the next event."""
        self.last = event.at
        handle = getattr(self, f"_on_{event.type}", None)
        if handle is not None:
            handle(event, event.data)
        elif "sender" in event.data or "key" in event.data:
            self._entry(event.type, event.data)

    def _line(self, name: str) -> AgentLine:
        found = self.agents.get(name)
        if found is None:
            found = self.agents[name] = AgentLine(visible(name))
        return found

    # -- the run

    def _on_run_started(self, event: RunEvent, data: dict[str, Any]) -> None:
        if self.began is not None:
            self.messages.append("goes on where an earlier process left it")
        self.began = self.began or event.at
        self.pattern = visible(str(data.get("pattern", "")))
        self.max_cost = (data.get("budget") or {}).get("max_cost", self.max_cost)
        self.status, self.stopped = "running", None
        self.questions.clear()
        self._rest("interrupted")

    def _on_run_finished(self, event: RunEvent, data: dict[str, Any]) -> None:
        self.status = str(data.get("status", "ended"))
        self.stopped = data.get("stopped")
        self._cost_pico = max(self._cost_pico, pico_of(float(data.get("cost") or 0.0)))
        self._rest("stopped")

    def _rest(self, state: str) -> None:
        """Let those who were at work when the process ended be so no longer."""
        self._texts.clear()
        for line in self.agents.values():
            if line.busy:
                line.busy.clear()
                line.state = state

    # -- steps

    def _on_step_started(self, event: RunEvent, data: dict[str, Any]) -> None:
        kind = str(data.get("kind", ""))
        if kind in _SPEAKING or event.agent_name in self.agents:  # what a pattern does itself is not an agent's work
            line = self._line(event.agent_name)
            line.busy[event.path] = event.at
            line.work = line.work or event.path.rpartition("/")[0]
            line.state = "thinking" if kind in _SPEAKING else visible(kind)

    def _on_step_finished(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._end_step(event, data, "done")

    def _on_step_failed(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._end_step(event, data, "failed")
        self._add(event.agent_name, f"failed: {data.get('error', '')}")

    def _end_step(self, event: RunEvent, data: dict[str, Any], state: str) -> None:
        cost = pico_of(float(data.get("cost") or 0.0))
        self._cost_pico += cost
        text = self._texts.pop(event.path, None)
        if text is not None and text[1].strip() and not self._tells:
            self._add(event.agent_name, text[1])
        if data.get("kind") in _SPEAKING or event.agent_name in self.agents:
            line = self._line(event.agent_name)
            began = line.busy.pop(event.path, None)
            if began is not None:
                line.seconds += max(0.0, (event.at - began).total_seconds())
            line.tokens += int(data.get("tokens") or 0)
            line.cost_pico += cost
            if not line.busy:
                line.state = state

    def _on_text(self, event: RunEvent, data: dict[str, Any]) -> None:
        before = self._texts.get(event.path, ("", ""))[1]
        tail = before + visible(str(data.get("text", "")))
        self._texts[event.path] = (event.agent_name, tail if len(tail) <= _TAIL else tail[-_TAIL:])

    def _on_tool_started(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._line(event.agent_name).state = f"tool {visible(str(data.get('tool', '')))}"

    def _on_tool_finished(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._line(event.agent_name).state = "at work"
        if not data.get("success", True):
            self._add(event.agent_name, f"{data.get('tool')} failed: {data.get('error')}")

    # -- people and money

    def _on_approval_asked(self, event: RunEvent, data: dict[str, Any]) -> None:
        self.status = "waiting"
        self.questions[str(data.get("id", ""))] = " ".join(
            word for word in (event.agent_name, str(data.get("kind", "")), str(data.get("tool", ""))) if word
        )
        if event.agent_name in self.agents:
            self._line(event.agent_name).state = "asks"

    def _on_approval_given(self, event: RunEvent, data: dict[str, Any]) -> None:
        self.questions.pop(str(data.get("id", "")), None)
        self.status = "waiting" if self.questions else "running"
        by = f" by {data['by']}" if data.get("by") else ""
        self._add(event.agent_name, f"{data.get('decision')}{by}")
        if event.agent_name in self.agents:
            self._line(event.agent_name).state = "at work"

    def _on_budget_warning(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._add(event.path, f"{float(data.get('share') or 0.0):.0%} of the budget is used")

    def _on_budget_exhausted(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._add(event.path, f"the budget is spent: {data.get('limit')}")

    # -- who said what

    def _on_message(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._tells = True
        line = said(event.agent_name, str(data.get("content") or data.get("error") or ""))
        if line in self.messages:  # it was shown when its text had come
            self.messages.remove(line)
        self.messages.append(line)

    def _on_handoff(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._add(f"{event.agent_name} → {data.get('to')}", str(data.get("message") or data.get("reason") or ""))

    def _on_plan(self, event: RunEvent, data: dict[str, Any]) -> None:
        owners = [str(task.get("worker_name") or task.get("owner") or "") for task in data.get("plan", ())]
        self._add(event.agent_name, f"plan: {', '.join(owners) if owners else 'nothing to do'}")
        for task in data.get("plan", ()):
            if name := task.get("worker_name"):
                self._line(str(name)).work = visible(str(task.get("task", "")))

    def _on_loop_detected(self, event: RunEvent, data: dict[str, Any]) -> None:
        self._add(event.agent_name, f"goes in circles: {data.get('evidence') or data.get('loop')}")

    def _entry(self, kind: str, data: dict[str, Any]) -> None:
        """Take an entry of the record of a workflow (``TraceEntry``)."""
        self._tells = True
        sender, receiver = str(data.get("sender", "")), str(data.get("receiver", ""))
        output = data.get("output") or ()
        text = str(data.get("task") or (output[0] if output else "")) or kind.replace("_", " ")
        if kind == "work_assigned" and data.get("instance"):
            line = self._line(str(data["instance"]))
            line.work, line.state = visible(text), line.state or "given work"
        what = "" if kind in ("work_assigned", "work_delivered") else f"{kind.replace('_', ' ')}: "
        self._add(f"{sender} → {receiver}" if receiver else sender, what + text)

    def _add(self, who: str, text: str) -> None:
        self.messages.append(said(who, text))


def said(who: str, text: str) -> str:
    """Return who said what as one line without control characters."""
    plain = " ".join(visible(text).split())
    return f"{visible(who)}: {plain}" if who else plain
