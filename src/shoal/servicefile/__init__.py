"""Service files: a TOML file says which services run, how many of each and where, and whether the registry is served.

``services.py`` is the file as a whole, ``agents.py`` and ``registry.py`` read its tables, ``tokens.py`` the file of tokens.
"""

from __future__ import annotations

from shoal.servicefile.agents import ServiceTable
from shoal.servicefile.registry import RegistryTable, check_address
from shoal.servicefile.services import ServiceFile, load_services
from shoal.servicefile.tokens import TOKENS_VARIABLE, load_tokens

__all__ = [
    "TOKENS_VARIABLE",
    "RegistryTable",
    "ServiceFile",
    "ServiceTable",
    "check_address",
    "load_services",
    "load_tokens",
]
