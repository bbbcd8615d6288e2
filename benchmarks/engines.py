"""PostgreSQL and NATS in a process of their own, from the extra ``cluster``: the same for ours and the peers'.

Every commit of the PostgreSQL is on disk (``fsync`` and ``synchronous_commit`` are on). The process outlives whoever
started it only to end its servers and to remove their folder.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.llm_serving import PYTHON

__all__ = ["Engines", "engines"]

_SETTINGS = {"shared_buffers": "256MB"}
_END_SECONDS = 30


class Engines:
    """The servers of one measurement: their URLs, a folder that goes with them, and what can be done to them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        told = json.loads(self._heard())
        self.store: str = told["store"]
        self.bus: str = told["bus"]
        self.folder = Path(told["folder"])

    def kill(self, name: str) -> None:
        """End ``postgres`` or ``nats`` by SIGKILL, and return when it has ended."""
        self._say("kill", name)

    def start(self, name: str) -> None:
        """Start it again at its old port, and return when it answers."""
        self._say("start", name)

    def _say(self, what: str, name: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {name}\n")
        self._process.stdin.flush()
        self._heard()

    def _heard(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the servers ended with {self._process.wait(_END_SECONDS)}")
        return line


@contextmanager
def engines() -> Iterator[Engines]:
    """Run both servers. ``store`` and ``bus`` are their URLs; what is put into ``folder`` is removed with them."""
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [os.environ.get(PYTHON, sys.executable), "-m", "benchmarks.engines"],
        cwd=root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # who ends a measurement ends its session: these end in order, at the end of their input
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Engines(process)
    finally:
        process.stdin.close()
        process.wait(_END_SECONDS)
        process.stdout.close()


def main() -> None:
    """Run the servers until the end of standard input; its lines kill and start them."""
    # Not beside the code: under root PostgreSQL runs as another user, who must be able to get there.
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-", dir="/var/tmp"))
    try:
        folder.chmod(0o711)
        asyncio.run(_serve(folder))
    finally:
        shutil.rmtree(folder)


async def _serve(folder: Path) -> None:
    from shoal.cluster import NatsServer, PostgresServer

    postgres, nats = PostgresServer(folder / "postgres", settings=_SETTINGS), NatsServer(folder / "nats")
    servers: dict[str, PostgresServer | NatsServer] = {"postgres": postgres, "nats": nats}
    try:
        for server in servers.values():
            await server.start()
        print(json.dumps({"store": postgres.url, "bus": nats.url, "folder": str(folder)}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, _, name = line.strip().partition(" ")
            await (servers[name].process.kill() if what == "kill" else _start(servers[name]))
            print("{}", flush=True)
    finally:
        for server in servers.values():
            await server.stop()


async def _start(server: object) -> None:
    """Start a server that was killed, as soon as the system has let go of what it had."""
    from shoal.errors import ServerError

    while True:
        try:
            await server.start()  # type: ignore[attr-defined]
        except ServerError as error:
            if "shared memory block" not in str(error) and "lock file" not in str(error):
                raise
        else:
            return


if __name__ == "__main__":
    main()
