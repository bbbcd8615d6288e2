"""Where a store in PostgreSQL is, by URL."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from shoal.config import PostgresHosts, postgres_faults, shown
from shoal.errors import ConfigError

__all__ = ["Address", "address_of"]

_SCHEMES = ("postgresql", "postgres")
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Address(msgspec.Struct, frozen=True):
    """A database and the schema in it that holds one deployment.

    ``hosts`` is what the driver connects to, ``url`` the same for people: without the password.
    """

    hosts: PostgresHosts
    url: str
    schema: str = "shoal"


def address_of(url: str) -> Address:
    """Return the address that *url* names: ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE?schema=NAME``.

    Several hosts stand with commas between them; whichever takes writes is used. What else stands behind the question
    mark is for the driver: ``sslmode``, ``sslrootcert``, ``sslcert`` and ``sslkey``, ``passfile`` …; what is not said is
    taken from ``PGPASSWORD``, ``PGSSLMODE`` and the other variables of PostgreSQL's own programs.

    Raises:
        ConfigError: another scheme, no database, a schema whose name is not small letters, digits and ``_``, an
            ``sslmode`` that there is not, or a file that is not there.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"store: {shown(url)!r:.200} is no URL: {error}") from None
    if parts.scheme not in _SCHEMES:
        raise ConfigError(
            f"store: {shown(url)!r:.200} is no URL of PostgreSQL; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    if not parts.path.strip("/"):
        raise ConfigError(
            f"store: {shown(url)!r:.200} names no database; write postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    options = parse_qsl(parts.query, keep_blank_values=True)
    schema = dict(options).get("schema", "shoal")
    if not _NAME.fullmatch(schema):
        raise ConfigError(f"store: schema {schema!r:.80} must be small letters, digits and _, at most 63")
    if faults := postgres_faults(url):
        raise ConfigError([f"store: {fault}" for fault in faults])
    rest = urlencode([(name, value) for name, value in options if name != "schema"])
    return Address(PostgresHosts(urlunsplit(parts._replace(query=rest))), shown(url), schema)
