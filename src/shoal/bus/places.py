"""Where the servers of a bus are, which namespace is meant, and how to get in: what its URL says."""

from __future__ import annotations

import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from shoal.bus.credentials import key_of, user_of
from shoal.bus.urls import ServerUrl, read_url
from shoal.config import PostgresHosts, postgres_faults
from shoal.errors import BusError, ConfigError

__all__ = ["NatsPlace", "PostgresPlace"]

_NATS_PORT, _POSTGRES_PORT = 4222, 5432
_NATS_OPTIONS = ("namespace", "creds", "nkey", "ca", "cert", "key")
_NAMESPACE = re.compile(r"[A-Za-z0-9_\-]{1,48}")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,47}")
_DEFAULT = "shoal"


class NatsPlace:
    """The servers and the namespace that a URL names, and how to get in."""

    def __init__(self, url: str) -> None:
        """Read ``nats://[user:password@|token@]host:port,host:port/NAMESPACE``.

        The scheme ``tls`` wants TLS. Options: ``namespace`` (in place of the path), ``creds`` (a file with the JWT and the
        seed of a user) or ``nkey`` (a file with the seed alone), ``ca`` (a file with the authorities to trust), ``cert``
        and ``key`` (files, for servers that want to know their clients). Raises ConfigError, which names every fault.
        """
        faults: list[str] = []
        self.url: ServerUrl = read_url(url, _NATS_PORT, _NATS_OPTIONS, faults)
        options = self.url.options
        self.namespace = options.get("namespace") or self.url.path or _DEFAULT
        self._creds, self._nkey = options.get("creds"), options.get("nkey")
        if not _NAMESPACE.fullmatch(self.namespace):
            faults.append(
                f"bus: the namespace of nats:// must be 1 to 48 letters, digits, _ or -, not {self.namespace[:80]!r}"
            )
        if self.url.path and "namespace" in options:
            faults.append("bus: the namespace stands twice, as path and as option")
        if ("cert" in options) != ("key" in options):
            faults.append("bus: cert and key belong together")
        if (self.url.user is not None) + ("creds" in options) + ("nkey" in options) > 1:
            faults.append("bus: user or token, creds and nkey are three ways to say who this is: give one of them")
        files = [(name, options[name]) for name in ("ca", "cert", "key") if name in options]
        faults += [f"bus: {name}: there is no file {file[:200]!r}" for name, file in files if not Path(file).is_file()]
        for name, read in (("creds", user_of), ("nkey", key_of)):
            try:
                if name in options:
                    read(options[name])
            except BusError as error:
                faults.append(f"bus: {name}: {error}")
        self.tls: ssl.SSLContext | None = None
        if not faults and (self.url.scheme == "tls" or options.keys() & {"ca", "cert"}):
            try:
                self.tls = _tls(options)
            except (OSError, ValueError) as error:
                faults.append(f"bus: ca, cert and key make no TLS: {error}")
        if faults:
            raise ConfigError(faults)

    @property
    def servers(self) -> list[str]:
        """Return a URL for each server, without credentials."""
        return [f"nats://{host}:{port}" for host, port in self.url.hosts]

    def options(self) -> dict[str, Any]:
        """Return what the client is given beside the server. Files are read anew: they may hold other credentials by now.

        Raises BusError: a file does not hold what it must.
        """
        user, password = self.url.user, self.url.password
        known: dict[str, Any] = {}
        if user is not None:
            known |= {"token": user} if password is None else {"user": user, "password": password}
        if self.tls is not None:
            known["tls"] = self.tls
        if self._creds is not None:
            known["user_credentials"] = user_of(self._creds)
        if self._nkey is not None:
            known["nkeys_seed_str"] = key_of(self._nkey)
        return known


class PostgresPlace:
    """The database and the schema that a URL names; the schema is the namespace."""

    def __init__(self, url: str) -> None:
        """Read ``postgresql://user:password@host:port,host:port/database?schema=NAME``; other options are the driver's.

        Raises ConfigError, which names every fault.
        """
        faults: list[str] = []
        found = read_url(url, _POSTGRES_PORT, None, faults)
        self.where = f"PostgreSQL at {found.where}/{found.path}"
        self.schema = found.options.get("schema") or _DEFAULT
        if not _SCHEMA.fullmatch(self.schema):
            faults.append(
                f"bus: the schema of postgresql:// must be 1 to 48 small letters, digits or _, and begin with no digit, "
                f"not {self.schema[:80]!r}"
            )
        faults += [f"bus: {fault}" for fault in postgres_faults(url)]
        if faults:
            raise ConfigError(faults)
        address, _, query = url.partition("?")
        rest = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "schema"]
        self.hosts = PostgresHosts(f"{address}?{urlencode(rest)}" if rest else address)


def _tls(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ca"))
    if "cert" in options:
        context.load_cert_chain(options["cert"], options["key"])
    return context
