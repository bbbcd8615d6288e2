"""Words of a team file that name tools, as the tools that they name."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from shoal.errors import ConfigError, nearest
from shoal.llm.builtin import fetch_tool, folder_tools
from shoal.llm.mcp import MCPTools
from shoal.llm.tools import as_tool
from shoal.tomlfile.faults import Faults, Path_
from shoal.tomlfile.values import Told, read_function

__all__ = ["PYTHON", "Kit", "Shelf", "needs_network"]

PYTHON = "python"
_FORMS = "mcp.NAME, FILE.py:NAME, folder:PATH, fetch:HOST or python"


class Kit(NamedTuple):
    """The tools of one agent. ``python``: it has those of the runner, too, which are known when a runtime is there.

    ``folders`` are what they read; ``network``: whether they go out.
    """

    tools: tuple[Any, ...] = ()
    python: bool = False
    folders: tuple[str, ...] = ()
    network: bool = False


class Shelf:
    """Where tools come from.

    Args:
        servers: by name; None: one with a fault, which was told.
        path_of: what makes paths of texts.
        runner: whether there is a ``[runner]``.
        faults: where faults go.
    """

    def __init__(self, servers: Mapping[str, MCPTools | None], path_of: Told, runner: bool, faults: Faults) -> None:
        self._servers = servers
        self._path_of = path_of
        self._runner = runner
        self._faults = faults

    def kit(self, words: object, place: Path_) -> Kit:
        """Return the tools that *words* name, each word once."""
        kit = Kit()
        seen: set[str] = set()
        for word in self._faults.texts(words, place):
            if word in seen:
                self._faults.add(place, f"tools: {word[:80]!r} is there twice")
                continue
            seen.add(word)
            with self._faults.of(place, "tools: "):
                kit = self._with(kit, word)
        return kit

    def _with(self, kit: Kit, word: str) -> Kit:
        kind, _, rest = word.partition(":")
        if word == PYTHON:
            if not self._runner:
                raise ConfigError("'python' runs code by the runner: say in a table [runner] where")
            return kit._replace(python=True)
        if word.startswith("mcp."):
            server = self._server(word.removeprefix("mcp."))
            return kit if server is None else kit._replace(tools=(*kit.tools, server), network=True)
        if kind == "folder" and rest:
            folder = self._path_of(rest).resolve()
            made = folder_tools(folder, taken=_names(kit))
            return kit._replace(tools=(*kit.tools, *made), folders=(*kit.folders, str(folder)))
        if kind == "fetch" and rest:
            return kit._replace(tools=(*kit.tools, fetch_tool(rest, taken=_names(kit))), network=True)
        if kind.endswith(".py") and rest:
            return kit._replace(tools=(*kit.tools, as_tool(read_function(word, self._path_of), word)))
        known = [PYTHON, *(f"mcp.{name}" for name in self._servers)]
        raise ConfigError(f"{word[:80]!r} names no tool{nearest(word, known)}; a tool is {_FORMS}")

    def _server(self, name: str) -> MCPTools | None:
        if name not in self._servers:
            raise ConfigError(f"there is no server [mcp.{name[:80]}]{nearest(name, self._servers)}")
        return self._servers[name]


def _names(kit: Kit) -> Collection[str]:
    return {tool.label for tool in kit.tools if not isinstance(tool, MCPTools)}


def needs_network(kit: Kit, model: object) -> bool:
    """Tell whether an agent with these tools and this model (a word) goes out of its process."""
    text = str(model)
    return kit.network or not (text == "echo" or text.startswith(("scripted:", "recorded:")))
