"""Fetching from one host over loopback, from servers that try everything to lead elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shoal.errors import ConfigError, ToolError
from shoal.llm.builtin import fetch_tool
from shoal.llm.builtin.fetch import MOST_BYTES, Fetch
from shoal.llm.builtin.plaintext import plain_text


class Server(ThreadingHTTPServer):
    """A server that notes what it was asked."""

    daemon_threads = True
    elsewhere = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers by the path."""

    server: Server

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            target = {"/to/other": self.server.elsewhere, "/to/loop": "/to/loop", "/to/page": "/page"}.get(path)
            target = target or {"/to/file": "file:///etc/passwd", "/to/meta": "http://169.254.169.254/latest"}[path]
            self._answer(302, "text/plain", b"", {"Location": target, "Set-Cookie": "a=b"})
        elif path == "/page":
            body = b"<html><head><title>T</title><style>x{}</style></head><body><h1>Head</h1><p>A &amp; b</p>"
            self._answer(200, "text/html; charset=utf-8", body + b"<script>bad()</script><p>c</p></body></html>")
        elif path == "/endless":
            self._answer(200, "text/plain", b"x" * (MOST_BYTES + 100))
        elif path == "/image":
            self._answer(200, "image/png", b"\x89PNG")
        elif path == "/broken":
            self.wfile.write(b"nonsense\r\n\r\n")
        else:
            self._answer(404 if path == "/gone" else 200, "text/plain; charset=latin-1", "schön".encode("latin-1"))

    def _answer(self, status: int, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    pair = Server(), Server()
    pair[0].elsewhere = f"{pair[1].url}/stolen"
    threads = [threading.Thread(target=server.serve_forever, args=(0.01,)) for server in pair]
    for thread in threads:
        thread.start()
    try:
        yield pair
    finally:
        for server, thread in zip(pair, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def fetch(server: Server, url: str) -> str:
    return str(asyncio.run(fetch_tool(server.url)(url)))


def test_it_gets_texts_by_path_and_by_address(servers: tuple[Server, Server]) -> None:
    server, _ = servers
    assert fetch(server, "/x?q=1") == f"200 OK {server.url}/x?q=1\ntext/plain; charset=latin-1\n\nschön"
    assert fetch(server, f"{server.url}/gone").startswith("404 Not Found ")
    assert fetch(server, "/page") == f"200 OK {server.url}/page\ntext/html; charset=utf-8\n\nHead\n\nA & b\n\nc"
    assert fetch(server, "/image").endswith("image/png\n[no text]")
    assert fetch(server, "/endless").endswith("x\n[cut after 2 MiB]")
    path, headers = server.seen[0]
    assert path == "/x?q=1" and headers["Host"] == server.url.removeprefix("http://")
    assert not {"Authorization", "Cookie"} & set(headers)


def test_redirects_stay_on_the_host(servers: tuple[Server, Server]) -> None:
    server, other = servers
    assert "Head" in fetch(server, "/to/page")
    for path in ("/to/other", "/to/file", "/to/meta"):
        with pytest.raises(ToolError, match="and nothing else may be fetched"):
            fetch(server, path)
    with pytest.raises(ToolError, match="redirects more than 5 times"):
        fetch(server, "/to/loop")
    assert other.seen == []
    assert not any("Cookie" in headers for _, headers in server.seen)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1:1/x",
            "https://127.0.0.1/x",
            "http://localhost/x",
            "//evil.example/x",
            "file:///etc/passwd",
        ),
        *(
            "http://user:secret@{host}/x",
            "http://{host}@evil.example/",
            "http://evil.example#{host}",
            "http://[::1",
            "ftp://{host}/",
        ),
        *("http://{host}.evil.example/", "http://evil.example:{port}/", "http://localhost:{port}/"),
    ],
)
def test_other_addresses_are_refused_before_anything_is_sent(servers: tuple[Server, Server], url: str) -> None:
    server, other = servers
    with pytest.raises(ToolError, match=r"nothing else may be fetched|is no address"):
        fetch(server, url.format(host=server.url.removeprefix("http://"), port=server.server_port))
    assert server.seen == other.seen == []


def test_a_public_name_with_a_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async def answer(*args: Any, **more: Any) -> Any:
            return [(2, 1, 6, "", ("10.0.0.7", 443))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
        await Fetch("https", "docs.example.org", 443).get("/x")

    with pytest.raises(ToolError, match=r"docs.example.org is at the private address 10.0.0.7"):
        asyncio.run(main())


def test_what_fails_on_the_way_is_an_error_of_the_tool(servers: tuple[Server, Server]) -> None:
    with pytest.raises(ToolError, match="cannot be fetched: RemoteProtocolError"):
        fetch(servers[0], "/broken")
    with pytest.raises(ToolError, match="cannot be fetched: ConnectError"):
        asyncio.run(fetch_tool("http://127.0.0.1:1")("/"))


@pytest.mark.parametrize("host", ["", "a b", "a/b", "ftp://a", "a:0", "a:70000", "-a", "a@b", "https://", "a?b"])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="is no host: write fetch:"):
        fetch_tool(host)


def test_names_and_schemes() -> None:
    assert fetch_tool("docs.python.org").label == "fetch_docs_python_org"
    assert fetch_tool("docs.python.org", taken={"fetch_docs_python_org"}).label == "fetch_docs_python_org_2"
    assert fetch_tool("[::1]:80").label == "fetch_1"
    spec = fetch_tool("docs.python.org").spec
    assert "docs.python.org" in spec.description and spec.parameters["required"] == ["url"]
    Fetch("https", "docs.python.org", 443)._checked("https://docs.python.org/3/")
    Fetch("http", "docs.python.org", 80)._checked("https://docs.python.org/")
    with pytest.raises(ToolError):
        Fetch("https", "docs.python.org", 443)._checked("http://docs.python.org/")


def test_html_as_text() -> None:
    assert plain_text("<p>a<br>b  c</p><style>x</style><ul><li>1<li>2</ul>") == "a\nb c\n\n1\n2"
    assert plain_text("no tags &lt;") == "no tags <"
    assert plain_text("<" * 10_000 + "x" * 10) is not None
