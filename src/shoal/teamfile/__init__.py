"""Team files: a TOML file becomes agents, a pattern and a budget.

``team.py`` is the file as a whole; ``agents.py``, ``patterns.py``, ``tools.py`` and ``settings.py`` read its tables. What it
shares with other files is in ``shoal.tomlfile``.
"""

from __future__ import annotations

from shoal.teamfile.agents import TeamAgent
from shoal.teamfile.team import TeamFile, load_team

__all__ = ["TeamAgent", "TeamFile", "load_team"]
