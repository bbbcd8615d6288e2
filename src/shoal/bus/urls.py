"""The URL of a bus that leans on a server. Every fault is named, and no error shows a password."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from shoal.errors import nearest

__all__ = ["ServerUrl", "read_url"]


class ServerUrl(NamedTuple):
    """What a URL says. ``hosts`` are pairs of host and port; ``path`` has no leading slash."""

    scheme: str
    user: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    path: str
    options: dict[str, str]

    @property
    def where(self) -> str:
        """Return the hosts, as errors show them."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.scheme}://{hosts or self.options.get('host', '')}"


def read_url(url: str, port: int, options: tuple[str, ...] | None, faults: list[str]) -> ServerUrl:
    """Return the parts of ``scheme://user:password@host:port,host:port/path?option=value``.

    Args:
        url: the URL.
        port: for hosts that name none.
        options: those that are allowed; None leaves them to the server.
        faults: gets every fault.
    """
    scheme, _, rest = url.partition("://")
    rest, _, query = rest.partition("?")
    authority, _, path = rest.partition("/")
    credentials, at, places = authority.rpartition("@")
    user, colon, password = credentials.partition(":")
    wrong: list[str] = []
    hosts = tuple(_host(each, port, wrong) for each in places.split(",")) if places else ()
    if wrong and not at and "@" in url:  # what looks like a port is a part of a password
        wrong = ["bus: / and ? within user or password must be written as %2F and %3F"]
    faults += wrong
    found = dict(parse_qsl(query, keep_blank_values=True))
    if not hosts and "host" not in (found if options is None else ()):
        faults.append(f"bus: {scheme}:// names no host")
    if options is not None:
        allowed = ", ".join(options)
        faults += [
            f"bus: {scheme}:// has no option {name[:40]!r}{nearest(name, options)}; allowed: {allowed}"
            for name in found
            if name not in options
        ]
    return ServerUrl(
        scheme,
        unquote(user) if at else None,
        unquote(password) if colon else None,
        hosts,
        unquote(path),
        found,
    )


def _host(text: str, port: int, faults: list[str]) -> tuple[str, int]:
    host, colon, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, number = text, str(port)
    if not host:
        faults.append(f"bus: {text[:80]!r} names no host")
    if not number.isdigit() or not 0 < int(number) < 65536:
        faults.append(f"bus: the port of {host[:80]!r} must be 1 to 65535, not {number[:20]!r}")
        return host, port
    return host, int(number)
