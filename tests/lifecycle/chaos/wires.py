"""What is between a node and the servers, and can be cut."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Literal, Protocol
from urllib.parse import urlsplit

from tests.lifecycle.chaos.proxy import Proxy

__all__ = ["How", "Link", "Proxied", "Way", "Wires"]

Way = Literal["store", "bus"]
How = Literal["silent", "refused"]


class Wires(Protocol):
    """The wires of one node. ``before`` is what its command begins with."""

    urls: dict[Way, str]
    before: Sequence[str]

    def open(self) -> None:
        """Make them."""
        ...

    def cut(self, way: Way, how: How) -> None:
        """Carry nothing."""
        ...

    def heal(self, way: Way, *, broken: bool) -> None:
        """Carry again; *broken*: nobody knows the connections any more."""
        ...

    def close(self) -> None:
        """Remove them."""
        ...


class Straight:
    """Nothing is between them."""

    before: Sequence[str] = ()

    def __init__(self, urls: dict[Way, str]) -> None:
        self.urls = urls

    def open(self) -> None:
        """There is nothing to be made."""

    def cut(self, way: Way, how: How) -> None:
        """There is nothing to be cut."""
        raise AssertionError(f"this node cannot be cut off from the {way}")

    def heal(self, way: Way, *, broken: bool) -> None:
        """Nothing was cut."""

    def close(self) -> None:
        """There is nothing to be removed."""


class Proxied:
    """A proxy for each server. A silent cut swallows what is sent; a refused one resets, and refuses connections."""

    before: Sequence[str] = ()

    def __init__(self, urls: dict[Way, str]) -> None:
        self._proxies: dict[Way, Proxy] = {way: Proxy(url) for way, url in urls.items()}
        self.urls: dict[Way, str] = {}

    def open(self) -> None:
        """Make them."""
        for way, proxy in self._proxies.items():
            proxy.open()
            self.urls[way] = proxy.url

    def cut(self, way: Way, how: How) -> None:
        """Carry nothing."""
        self._proxies[way].cut(refused=how == "refused")

    def heal(self, way: Way, *, broken: bool) -> None:
        """Carry again, what was held up first; *broken*: drop that with its connections."""
        self._proxies[way].heal(broken=broken)

    def close(self) -> None:
        """Remove them."""
        for proxy in self._proxies.values():
            proxy.close()


class Link:
    """A network of the node's own, with one link to that of the servers: pull it, and both sides hear nothing at all.

    It is made in the namespace of whoever makes it, which must be a private one.
    """

    def __init__(self, urls: dict[Way, str], number: int) -> None:
        self._net = f"10.77.{number}"
        self._near, self._far = f"near{number}", f"far{number}"
        self.urls: dict[Way, str] = {}
        for way, url in urls.items():
            parts = urlsplit(url)
            user, at, _ = parts.netloc.rpartition("@")
            self.urls[way] = parts._replace(netloc=f"{user}{at}{self._net}.1:{parts.port}").geturl()
        self.before: Sequence[str] = ()
        self._place: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """Make the namespace, which a process keeps, and the link."""
        keep = "echo; exec sleep 100000"
        self._place = subprocess.Popen(["unshare", "--net", "sh", "-c", keep], stdout=subprocess.PIPE)
        assert self._place.stdout is not None
        self._place.stdout.readline()
        pid = str(self._place.pid)
        self.before = ["nsenter", "--net", "--target", pid]
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", pid)
        _ip("address", "add", f"{self._net}.1/24", "dev", self._near)
        _ip("link", "set", self._near, "up")
        for words in (("address", "add", f"{self._net}.2/24", "dev", self._far), ("link", "set", self._far, "up")):
            _ip(*words, before=self.before)
        _ip("link", "set", "lo", "up", before=self.before)

    def cut(self, way: Way, how: How) -> None:
        """Pull the link: from both servers."""
        _ip("link", "set", self._near, "down")

    def heal(self, way: Way, *, broken: bool) -> None:
        """Plug it in again. Both sides know their connections."""
        _ip("link", "set", self._near, "up")

    def close(self) -> None:
        """End the namespace, and the link with it."""
        if self._place is not None:
            self._place.kill()
            self._place.communicate()


def _ip(*words: str, before: Sequence[str] = ()) -> None:
    done = subprocess.run([*before, "ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
