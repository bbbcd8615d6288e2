"""The tools of one agent: checked when it is made, told to the model, run when it asks."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

from shoal.kernel.asking_people import Decide
from shoal.kernel.scope import Scope
from shoal.kernel.threads import DaemonPool
from shoal.llm.mcp import MCPTools
from shoal.llm.model import ToolCall, ToolSpec
from shoal.llm.toolcalls import Place, carry_out, read_request
from shoal.llm.tools import Tool, ToolRecord, as_tool

__all__ = ["Toolbox"]


class Toolbox:
    """A set of tools with a name each.

    Args:
        tools: functions, Tools, subclasses of Tool, and MCPTools, whose tools are known once ``open`` has returned.

    Raises:
        TypeError: one is no tool, or has a parameter that JSON cannot give.
        ValueError: two of one name, or a field that is not possible.
    """

    def __init__(self, tools: Iterable[object] = ()) -> None:
        self._own: dict[str, Tool] = {}
        self.servers: list[MCPTools] = []
        places: dict[str, int] = {}
        for place, given in enumerate(tools):
            if isinstance(given, MCPTools):
                self.servers.append(given)
                continue
            tool = as_tool(given, f"tools[{place}]")
            if tool.label in self._own:
                raise ValueError(
                    f"two tools are named {tool.label!r} (tools[{places[tool.label]}], tools[{place}]): "
                    "give one of them another with Tool(fn, name=...)"
                )
            self._own[tool.label], places[tool.label] = tool, place
        self._listed: list[tuple[Tool, ...]] = []
        self._all: dict[str, Tool] = self._own
        self._specs = tuple(tool.spec for tool in self._own.values())
        self._pool: DaemonPool | None = None  # made with the first call

    async def open(self) -> None:
        """Connect to the MCP servers that are not connected, and learn their tools. Without servers it costs nothing.

        Raises:
            MissingExtraError: the extra ``mcp`` is not installed. ToolError: a server does not start or answer.
        """
        if not self.servers:
            return
        listed = [await server.tools() for server in self.servers]
        if listed != self._listed:
            self._all, self._listed = self._named(listed), listed
            self._specs = tuple(tool.spec for tool in self._all.values())

    def _named(self, listed: list[tuple[Tool, ...]]) -> dict[str, Tool]:
        """Return all tools by name. The tools of servers get their server's name as prefix where they clash."""
        count: dict[str, int] = dict.fromkeys(self._own, 1)
        for tool in (tool for tools in listed for tool in tools):
            count[tool.label] = count.get(tool.label, 0) + 1
        found = dict(self._own)
        for server, tools in zip(self.servers, listed, strict=True):
            for tool in tools:
                name = tool.label
                if count[name] > 1:
                    name = f"{server.name}_{name}"[:64]
                base, number = name, 1
                while name in found:  # two servers of one name
                    number += 1
                    name = f"{base[:60]}_{number}"
                found[name] = tool if name == tool.label else tool.renamed(name)
        return found

    def specs(self) -> tuple[ToolSpec, ...]:
        """Return what the model is told of each tool."""
        return self._specs

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name."""
        return self._all.get(name)

    async def run(
        self,
        call: ToolCall,
        *,
        scope: Scope,
        segment: str,
        agent_name: str = "",
        user_id: str = "default",
        decide: Decide | None = None,
    ) -> ToolRecord:
        """Run what a model asks for, once in the run, and return how it went.

        What is the tool's own fault, or the model's, does not raise: the record says it, and its ``content`` is for the
        model to read: an unknown tool, bad arguments, an error, a time-out, a denial.

        Args:
            call: what the model wants.
            scope: the place in the run.
            segment: the step's place below it.
            agent_name: whose model it is.
            user_id: for whom it works.
            decide: decides on approvals where the run is not durable.

        Raises:
            ApprovalRequiredError: a person has to decide, and nobody can be asked. Nothing was run.
            ToolError: it is to run in a process, and there is no runtime. Nothing was run.
            Stopped, BudgetExceededError, RunChangedError, LeaseLostError, StoreError: what ends the whole run.
        """
        request = read_request(call, self._all.get(call.name), tuple(self._all))
        return await carry_out(request, Place(scope, segment, agent_name, user_id, decide, self._threads()))

    def _threads(self) -> DaemonPool:
        if self._pool is None:
            self._pool = DaemonPool()
            weakref.finalize(self, self._pool.shutdown).atexit = False  # idle threads end with it
        return self._pool

    async def aclose(self) -> None:
        """End the connections to MCP servers, and with them the servers that were started."""
        for server in self.servers:
            await server.aclose()
