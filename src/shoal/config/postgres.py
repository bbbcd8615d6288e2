"""What a URL of PostgreSQL says, for the store and for the bus: its hosts, its options, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from shoal.errors import nearest

__all__ = ["PostgresHosts", "postgres_faults"]

T = TypeVar("T")
Connect = Callable[[str, float], Awaitable[T]]

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")
_OPTIONS = (
    *("schema", "host", "port", "user", "password", "passfile", "database", "dbname", "service"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib"),
)
"""``schema``, and what the driver takes for itself. It hands on the rest: the server knows hundreds of settings."""
_MISSPELT = 0.8  # so alike (0 to 1) is no setting of the server to an option


def postgres_faults(url: str) -> list[str]:
    """Return what is wrong with a URL of PostgreSQL, as far as this machine can tell: words and files that its options name.

    What else its options say is for the driver and the server: also names that are like none of the driver's.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    credentials, _, hosts = rest.partition("/")[0].rpartition("@")
    faults = []
    if "#" in url or "@" in credentials or any(not _has_good_port(host) for host in hosts.split(",")):
        faults.append(
            "hosts must be HOST or HOST:PORT, and @ / ? # within user or password be written as %40 %2F %3F %23"
        )
    options = dict(parse_qsl(query, keep_blank_values=True))
    faults += _misspelt(options)
    if "sslmode" in options and options["sslmode"] not in _SSL_MODES:
        allowed = ", ".join(_SSL_MODES)
        faults.append(f"sslmode must be one of {allowed}, not {options['sslmode'][:80]!r}")
    if "sslkey" in options and "sslcert" not in options:
        faults.append("sslkey stands without sslcert")
    files = [(name, options[name]) for name in _SSL_FILES if options.get(name)]
    return faults + [f"{name}: there is no file {file[:200]!r}" for name, file in files if not Path(file).is_file()]


def _misspelt(names: Iterable[str]) -> Iterator[str]:
    """Say of each name that is nearly one of an option that it is none: the server would refuse it as a setting."""
    import difflib  # every process of Shoal reads a configuration; few misspell a word

    for name in names:
        word = name.lower()
        if name not in _OPTIONS and "." not in name and difflib.get_close_matches(word, _OPTIONS, 1, _MISSPELT):
            allowed = ", ".join(_OPTIONS)
            yield f"there is no option {name[:40]!r}{nearest(word, _OPTIONS)}; allowed: {allowed}, settings of the server"


class PostgresHosts:
    """The hosts that a URL of PostgreSQL names, side by side by commas: ``urls``, the one that answered last first.

    The driver would wait for one that is silent until nothing is left of the time for the others.
    """

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        place, slash, more = rest.partition("/")
        credentials, at, hosts = place.rpartition("@")
        self.urls = tuple(f"{scheme}://{credentials}{at}{host}{slash}{more}" for host in hosts.split(","))

    async def first(self, connect: Connect[T], seconds: float, away: tuple[type[Exception], ...]) -> T:
        """Return ``await connect(url, share)`` for the first host of which it raises none of *away*, else its last error."""
        failure: Exception = OSError("no host is named")
        for url in self.urls:
            try:
                found = await connect(url, seconds / len(self.urls))
            except away as error:
                failure = error
            else:
                self.urls = (url, *(other for other in self.urls if other != url))
                return found
        raise failure


def _has_good_port(host: str) -> bool:
    _, colon, port = host.rpartition(":")
    return not colon or host.endswith("]") or (port.isdigit() and 0 < int(port) < 65536)
