"""The table ``[registry]`` of a service file, and where the registry may be served at all."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import msgspec

from shoal.errors import ConfigError, MissingExtraError
from shoal.servicefile.tokens import TOKENS_VARIABLE, load_tokens
from shoal.tomlfile.faults import Faults
from shoal.tomlfile.values import Told

__all__ = ["HOST", "PORT", "RegistryTable", "check_address", "read_registry"]

KEYS = ("host", "port", "tokens")
HOST, PORT = "127.0.0.1", 4567


class RegistryTable(msgspec.Struct, frozen=True, kw_only=True):
    """Where the registry is served. ``tokens`` tells the role of each token; without any, programs of this machine only."""

    host: str = HOST
    port: int = PORT
    tokens: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"RegistryTable(host={self.host!r}, port={self.port}, tokens={len(self.tokens)} of them)"


def read_registry(whole: Mapping[str, Any], path_of: Told, faults: Faults) -> RegistryTable | None:
    """Return what ``[registry]`` says; None: there is none."""
    if "registry" not in whole:
        return None
    before = len(faults)
    table = faults.table(whole, ("registry",), KEYS)
    host, port, file = table.get("host", HOST), table.get("port", PORT), table.get("tokens")
    tokens: Mapping[str, str] = {}
    with faults.of(("registry", "tokens"), "tokens: "):
        if file is not None and not (isinstance(file, str) and file.strip()):
            raise ConfigError(f"it must be the path of a file, not {file!r:.80}")
        tokens = load_tokens(None if file is None else path_of(file))
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65_535:
        faults.add(("registry", "port"), f"port must be a whole number from 0 (any) to 65535, not {port!r:.80}")
    if not isinstance(host, str) or not host.strip():
        faults.add(("registry", "host"), f"host must be a name or an address, such as {HOST}, not {host!r:.80}")
    elif len(faults) == before:
        with faults.of(("registry", "host"), "host: "):
            check_address(host, tokens)
    return None if len(faults) > before else RegistryTable(host=host, port=port, tokens=tokens)


def check_address(host: str, tokens: Mapping[str, str]) -> None:
    """Raise unless the registry can be served there.

    Raises:
        ConfigError: there is no such host, or it is not loopback and there are no tokens.
        MissingExtraError: the extra ``http`` is not installed.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise MissingExtraError("http", "the registry")
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{host[:80]!r} is no host of this machine: {getattr(error, 'strerror', error)}") from None
    address = str(found[0][4][0])
    if not tokens and not _is_loopback(address):
        where = host if host == address else f"{host} ({address})"
        raise ConfigError(
            f"without tokens the registry is served to this machine only, on 127.0.0.1, and not on {where[:120]}: "
            f"give tokens in a file, or in {TOKENS_VARIABLE}"
        )


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
