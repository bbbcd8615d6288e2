"""Fetching from one host, and from no other."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import re
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

from shoal.errors import ConfigError, MissingExtraError, ToolError
from shoal.llm.builtin.naming import free_name
from shoal.llm.builtin.plaintext import plain_text
from shoal.llm.tools import Tool

if TYPE_CHECKING:
    import httpx2

__all__ = ["Fetch", "fetch_tool"]

MOST_REDIRECTS = 5
MOST_BYTES = 2 << 20
_READ_SECONDS = 10.0
_SECONDS = 45.0
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::(\d{1,5}))?/?")
_TEXTS = re.compile(r"text/|application/(.*[+])?(json|xml|javascript|yaml|toml)\b|application/xhtml", re.IGNORECASE)


def fetch_tool(host: str, taken: Collection[str] = ()) -> Tool:
    """Return the tool ``fetch_HOST``: GET from *host*, and from nowhere else.

    It sends no credentials and keeps no cookies, uses no proxy, and reads text of at most 2 MiB. Redirects to other hosts,
    other ports and from https to http are refused; so is a public name whose address is private.

    Args:
        host: a name or address, ``HOST`` or ``HOST:PORT``; spoken to over https, ``http://HOST`` over http, too.
        taken: names that other tools have.

    Raises:
        ConfigError: *host* is none. MissingExtraError: neither the extra ``http`` nor ``llm`` is installed.
    """
    found = _HOST.fullmatch(host)
    if found is None or not 0 < int(found[3] or 1) < 65536:
        raise ConfigError(f"{host[:80]!r} is no host: write fetch:docs.python.org, or fetch:http://HOST:PORT")
    if importlib.util.find_spec("httpx2") is None:
        raise MissingExtraError("http", "the tool 'fetch'")
    scheme = found[1] or "https"
    fetch = Fetch(scheme, found[2].strip("[]").lower(), int(found[3] or _PORTS[scheme]))
    return Tool(
        fetch.get,
        name=free_name("fetch", found[2], taken),
        description=f"Get a page or a text from {host}, and from no other host. HTML comes as plain text.",
        timeout=_SECONDS,
    )


class Fetch:
    """GET from *host*, at *port* over *scheme*; over https at its own port in any case."""

    def __init__(self, scheme: str, host: str, port: int) -> None:
        self._host = host
        self._base = f"{scheme}://{_bracketed(host)}:{port}/"
        self._allowed = {(scheme, port)}
        if scheme == "http" and port == _PORTS["http"]:
            self._allowed.add(("https", _PORTS["https"]))
        self._may_be_private = _is_private_name(host)

    async def get(self, url: str) -> str:
        """Return status, type and text of what is at an address.

        Args:
            url: a whole address of that host, or a path on it.
        """
        import httpx2

        target = self._joined(self._base, url)
        limits = httpx2.Timeout(_READ_SECONDS)
        try:
            async with httpx2.AsyncClient(timeout=limits, trust_env=False, follow_redirects=False) as client:
                for _ in range(MOST_REDIRECTS + 1):
                    parts = self._checked(target)
                    async with client.stream(**await self._request(parts)) as response:
                        if not response.is_redirect:
                            return await _read(response, target)
                        target = self._joined(target, response.headers["location"])
                    client.cookies.clear()
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise ToolError(f"{target[:300]} cannot be fetched: {type(error).__name__}: {error}") from error
        raise ToolError(f"{url[:300]} redirects more than {MOST_REDIRECTS} times")

    @staticmethod
    def _joined(base: str, url: str) -> str:
        try:
            return urljoin(base, url)
        except ValueError as error:
            raise ToolError(f"{url[:300]!r} is no address: {error}") from error

    def _checked(self, url: str) -> SplitResult:
        """Return the parts of *url*. Raises ToolError: it leads elsewhere."""
        try:
            parts = urlsplit(url)
            scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
            port = parts.port or _PORTS.get(scheme, 0)
        except ValueError as error:
            raise ToolError(f"{url[:300]!r} is no address: {error}") from error
        if host != self._host or (scheme, port) not in self._allowed or parts.username or parts.password:
            raise ToolError(f"{url[:300]} is not at {self._base}, and nothing else may be fetched")
        return parts

    async def _request(self, parts: SplitResult) -> dict[str, Any]:
        """Return the request for *parts*, to the address that was looked up and checked, whatever the name says later."""
        port = parts.port or _PORTS[parts.scheme]
        address = await self._address(port)
        host = f"{_bracketed(self._host)}:{port}" if parts.port else _bracketed(self._host)
        query = f"?{parts.query}" if parts.query else ""
        return {
            "method": "GET",
            "url": f"{parts.scheme}://{_bracketed(address)}:{port}{parts.path or '/'}{query}",
            "headers": {"Host": host, "User-Agent": "shoal", "Accept": "text/*, application/json;q=0.9, */*;q=0.1"},
            "extensions": {"sni_hostname": self._host},
        }

    async def _address(self, port: int) -> str:
        found = await asyncio.get_running_loop().getaddrinfo(self._host, port, type=socket.SOCK_STREAM)
        addresses = [str(each[4][0]) for each in found]
        if not self._may_be_private:
            for address in addresses:
                if not ipaddress.ip_address(address.partition("%")[0]).is_global:
                    raise ToolError(f"{self._host} is at the private address {address}, from which nothing is fetched")
        return addresses[0]


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _is_private_name(host: str) -> bool:
    """Tell whether whoever named *host* meant a private address: it is one, or a name of this machine."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _read(response: httpx2.Response, url: str) -> str:
    kind = response.headers.get("content-type", "")
    head = f"{response.status_code} {response.reason_phrase} {url}\n{kind}"
    if kind and not _TEXTS.match(kind):
        return f"{head}\n[no text]"
    data, cut = bytearray(), ""
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MOST_BYTES:
            cut = f"\n[cut after {MOST_BYTES >> 20} MiB]"
            break
    text = bytes(data[:MOST_BYTES]).decode(response.charset_encoding or "utf-8", "replace")
    return f"{head}\n\n{plain_text(text) if 'html' in kind.lower() else text}{cut}"
