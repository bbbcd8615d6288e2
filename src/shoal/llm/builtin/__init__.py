"""Tools that come along: reading a folder, fetching from a host."""

from __future__ import annotations

from shoal.llm.builtin.fetch import fetch_tool
from shoal.llm.builtin.folder import folder_tools

__all__ = ["fetch_tool", "folder_tools"]
