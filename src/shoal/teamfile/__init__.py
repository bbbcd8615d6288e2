"""Team files: a TOML file becomes agents, a pattern and a budget.

``team.py`` is the file as a whole; ``agents.py``, ``patterns.py``, ``tools.py`` and ``settings.py`` read its tables, and
``faults.py`` collects what is wrong with them, each with its line (``lines.py``).
"""

from __future__ import annotations

from shoal.teamfile.agents import TeamAgent
from shoal.teamfile.team import TeamFile, load_team

__all__ = ["TeamAgent", "TeamFile", "load_team"]
