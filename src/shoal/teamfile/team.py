"""``load_team``: a team file becomes agents, a pattern and a budget."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from shoal.errors import nearest
from shoal.kernel.budget import Budget
from shoal.teamfile.agents import TeamAgent, read_agents
from shoal.teamfile.briefs import briefed, read_brief
from shoal.teamfile.casting import Casting, Opened, cast_of
from shoal.teamfile.patterns import PATTERNS, Form, read_options
from shoal.teamfile.settings import read_budget, read_runner, read_server
from shoal.teamfile.tools import Shelf
from shoal.tomlfile.faults import Faults
from shoal.tomlfile.opening import open_toml
from shoal.tomlfile.values import read_store, told

if TYPE_CHECKING:
    from shoal.runtime import AgentRuntime

__all__ = ["TeamFile", "load_team"]

TABLES = ("team", "pattern", "brief", "budget", "agents", "runner", "mcp")
TEAM_KEYS = ("name", "pattern", "store", "report")


class TeamFile:
    """A team that a file describes; ``load_team`` makes it.

    Attributes:
        path: of the file.
        name: of the team, and of its pattern in runs; default the file's name without ``.toml``.
        pattern: ``parallel``, ``pipeline``, ``supervisor``, ``debate``, ``team`` or ``orchestrator``.
        agents: what the file says of each agent, by name, in its order.
        budget: of a run; None: none.
        report: where the report of a run is to go, ``.md`` or ``.json``; None: the file does not say.
        store: the URL of the store.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], casting: Casting, budget: Budget | None) -> None:
        self.path = path
        self.name: str = about["name"]
        self.pattern: str = about["pattern"]
        self.report: str | None = about["report"]
        self.store: str = about["store"]
        self._brief: Mapping[str, Any] = about["brief"]
        self.budget = budget
        self.agents: Mapping[str, TeamAgent] = {each.about.name: each.about for each in casting.members}
        self._casting = casting
        self._opened: WeakKeyDictionary[AgentRuntime, Opened] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<TeamFile {self.name} ({self.pattern}): {', '.join(self.agents)}>"

    async def open(self, runtime: AgentRuntime) -> Any:
        """Return its pattern, for ``runtime.run``.

        Agents with an isolation other than inline are registered in *runtime* under their names and started, once for each
        runtime; they take part through ``runtime.agent``. No model is called.

        Args:
            runtime: one that runs.

        Raises:
            IsolationUnavailableError: this machine has no such walls, for an agent or the runner.
            AgentNameTakenError: an agent of such a name is alive. AgentStartError: one did not start.
        """
        return await self._casting.open(runtime, self._opened.setdefault(runtime, Opened()))

    async def run(
        self, runtime: AgentRuntime, task: str, run_id: str | None = None, context: Mapping[str, Any] | None = None
    ) -> Any:
        """Run it on *task* in *runtime*, within its budget, and return the result of its pattern.

        Args:
            runtime: one that runs.
            task: what is wanted.
            run_id: of the run; that of a known one goes on with it.
            context: what everybody is told, by name.

        Raises what ``open`` and ``runtime.run`` raise.
        """
        pattern = await self.open(runtime)
        given, text = self.told(task, context)
        return await runtime.run(pattern, given, run_id=run_id, budget=self.budget, context=text)

    def told(self, task: str, context: Mapping[str, Any] | None = None) -> tuple[Any, str]:
        """Return the input and the context with which ``runtime.run`` is to run its pattern on *task*.

        An orchestrator gets a brief: that of the file, with the task, and with *context* added to its own. Any other
        pattern gets the task, and the context as text.
        """
        if self.pattern == "orchestrator":
            return briefed(self._brief, task, context or {}), ""
        return task, "\n".join(f"{key}: {value}" for key, value in (context or {}).items())


def load_team(path: str | os.PathLike[str], *, model: str | None = None) -> TeamFile:
    """Read a team file. No model is called, nothing is started; files that it names for functions are loaded.

    Args:
        path: of the TOML file. Files that it names by relative paths stand beside it; its store and report do not: they are
            relative to the working directory.
        model: the model of all its agents, in place of theirs, such as ``"echo"``.

    Raises:
        ConfigError: every fault of the file, each with its line.
    """
    file = Path(path)
    whole, faults = open_toml(file, "team file", TABLES, note="`shoal init` writes one.")
    return _read(whole, file, faults, model)


def _read(whole: Mapping[str, Any], file: Path, faults: Faults, model: str | None) -> TeamFile:
    about, form = _about(whole, file, faults)
    budget = read_budget(whole, faults)
    path_of = told(file.absolute().parent)
    given = whole.get("mcp", {})
    if not isinstance(given, dict):
        faults.add(("mcp",), "mcp must be tables: [mcp.NAME]")
        given = {}
    servers = {name: read_server(name, server, faults) for name, server in given.items()}
    runner = read_runner(whole, faults)
    members = read_agents(whole, Shelf(servers, path_of, runner is not None, faults), path_of, model, faults)
    casting = None
    if form is not None:
        table = faults.table(whole, ("pattern",), form.options)
        options = read_options(table, form, path_of, faults)
        casting = cast_of(about["name"], form, options, members, runner, faults)
    faults.check()
    assert casting is not None, "a file without a pattern is at fault"
    return TeamFile(file, about, casting, budget)


def _about(whole: Mapping[str, Any], file: Path, faults: Faults) -> tuple[dict[str, Any], Form | None]:
    """Return what ``[team]`` says, and the form of its pattern."""
    table = faults.table(whole, ("team",), TEAM_KEYS)
    name = table.get("name", file.stem)
    if not isinstance(name, str) or not name.strip() or len(name) > 100:
        faults.add(("team", "name"), "name must be text of 1 to 100 characters")
        name = file.stem
    report = table.get("report")
    if report is not None and not (isinstance(report, str) and report.endswith((".md", ".json"))):
        faults.add(("team", "report"), f"report={report!r:.80}: it must be a path that ends in .md or .json")
    word, known = table.get("pattern"), ", ".join(PATTERNS)
    if word is None:
        faults.add(("team",), f"there is no pattern in [team]: it is one of {known}")
    elif not isinstance(word, str) or word not in PATTERNS:
        hint = nearest(str(word), PATTERNS)
        faults.add(("team", "pattern"), f"there is no pattern {str(word)[:80]!r}{hint}; it is one of {known}")
    about = {"name": name, "pattern": word, "report": report, "store": read_store(table, ("team", "store"), faults)}
    about["brief"] = read_brief(whole, word, faults)
    return about, PATTERNS.get(word) if isinstance(word, str) else None
