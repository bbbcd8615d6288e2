"""Lives of a run in which tools are called, on a journal that stays."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from shoal.kernel.asking_people import Decide
from shoal.kernel.clock import RealClock
from shoal.kernel.journal import MemoryRuns
from shoal.kernel.liverun import LiveRun
from shoal.kernel.ports import Clock, RunOrder
from shoal.kernel.run import RunEvent, RunOptions
from shoal.kernel.starting import new_record
from shoal.llm.model import ToolCall
from shoal.llm.toolbox import Toolbox
from shoal.llm.tools import ToolRecord

__all__ = ["Life", "asked"]


def asked(name: str, call_id: str = "c1", /, **arguments: Any) -> ToolCall:
    """Return a model's wish."""
    return ToolCall(call_id=call_id, name=name, arguments=json.dumps(arguments))


class Life:
    """One life of the run ``run1``: the same *runs* again is the next one, after a crash of the one before."""

    def __init__(
        self,
        tools: Iterable[object] = (),
        runs: MemoryRuns | None = None,
        *,
        clock: Clock | None = None,
        durable: bool = False,
        options: RunOptions | None = None,
        box: Toolbox | None = None,
    ) -> None:
        self.clock = clock or RealClock()
        self.runs = runs or MemoryRuns()
        order = RunOrder(record=new_record("test", None, self.clock, run_id="run1", seed=1), node_id="node")
        begun = self.runs.begin(order, now=self.clock.now()).result()
        self.live = LiveRun(self.runs, begun, self.clock, durable=durable, options=options)
        self.root = self.live.root.settle_in("root")
        self.box = box or Toolbox(tools)

    async def call(
        self, call: ToolCall, segment: str | None = None, *, decide: Decide | None = None, user_id: str = "ann"
    ) -> ToolRecord:
        """Let the agent's model ask for a call."""
        place = segment or f"tool{self.root.ordinal('tool')}:{call.name}"
        return await self.box.run(
            call, scope=self.root, segment=place, agent_name="Ada", user_id=user_id, decide=decide
        )

    def told(self, *types: str) -> list[RunEvent]:
        """Return the news of these types so far."""
        return [event for event in self.live.feed._ring if not types or event.type in types]
