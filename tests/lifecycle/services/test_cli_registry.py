"""``shoal registry serve`` beside a runtime: started and stopped at any time, by signals."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lifecycle.services.test_cli_up import give_up, ready, write
from tests.support.command import GUARD_SECONDS, begin, environment, refused, said, shoal
from tests.support.upping import up


@contextmanager
def served(folder: Path, *words: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``shoal registry serve`` on a free port, and give it with its URL."""
    process = begin(folder, "registry", "serve", "--port", "0", *words, variables=environment() | variables)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"registry at (http://\S+)\n", process.stdout.readline())
        assert found is not None, process.communicate()
        yield process, found[1]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_the_store_until_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        with served(tmp_path, SHOAL_REGISTRY_TOKENS="admin:t-admin") as (process, url):
            token = {"SHOAL_REGISTRY_TOKEN": "t-admin"}
            found = said(shoal(tmp_path, "discover", "--url", url, "--json", variables=token))
            assert {each["instance"] for each in found} == {"worker_0", "worker_1", "here_0"}
            answer = said(shoal(tmp_path, "call", "worker_0", "{}", "--url", url, variables=token))
            assert answer["pid"] == running.pid("worker_0")
            process.send_signal(number)
            assert process.wait(GUARD_SECONDS) == 0
        assert said(shoal(tmp_path, "call", "worker_0", "{}"))["count"] == 2, "the services go on"
        assert running.end(signal.SIGTERM) == 0


def test_without_tokens_it_lets_look_and_not_ask(tmp_path: Path) -> None:
    with up(write(tmp_path)) as running:
        ready(running, 3)
        with served(tmp_path) as (_, url):
            assert len(said(shoal(tmp_path, "discover", "--url", url, "--json"))) == 3
            refused(shoal(tmp_path, "call", "worker_0", "{}", "--url", url), 4, "UNAUTHORIZED")


def test_tokens_of_a_file_that_others_may_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("admin:secret-1")
    (tmp_path / "tokens").chmod(0o644)
    done = shoal(tmp_path, "registry", "serve", "--tokens", "tokens")
    refused(done, 2, "others may read tokens", "chmod 600")
    assert "secret-1" not in done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with served(tmp_path) as (_, url):
        port = url.rpartition(":")[2]
        done = shoal(tmp_path, "registry", "serve", "--port", port, "--store", "other.db")
        refused(done, 1, f"cannot be served on 127.0.0.1, port {port}", "another port")


def test_a_registry_that_was_given_up_ends_and_says_so(tmp_path: Path) -> None:
    with served(tmp_path) as (process, _):
        asyncio.run(give_up(f"sqlite:///{tmp_path}/shoal.db"))
        assert process.wait(GUARD_SECONDS) == 1
        assert process.stderr is not None and "shoal: Node" in process.stderr.read()
