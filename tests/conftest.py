"""What every test is held to: no error is lost on an event loop, no child process stays, nothing hangs for ever."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from shoal.testing.clock import run_checked
from tests.support.backend import MADE_A_STORE, POSTGRES, STORES, on_cluster, store_at

pytest_plugins = ["shoal.testing.plugin", "tests.support.engines", "tests.support.acceptance"]

T = TypeVar("T")
HANG_SECONDS = 100
CHILD_SECONDS = 5.0
WHOLE_TEST_SECONDS = 300.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse acceptance marks that name no line, however they came about; skip what a store on a server has not."""
    for item in items:
        if on_cluster() and item.get_closest_marker("sqlite"):
            item.add_marker(pytest.mark.skip(reason="it is about a file of SQLite, or about virtual time"))
        for mark in item.iter_markers("spec"):
            if not mark.args or not all(re.fullmatch(r"[ROWBSN][1-9]\d*", str(word)) for word in mark.args):
                raise pytest.UsageError(f"{item.nodeid}: spec{mark.args} names no acceptance line such as 'R12'")


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """``rounds(full, few)``: how often a long test repeats; *full* under ``make soak``, else *few*, never under two."""
    return lambda full, few: full if os.environ.get("SHOAL_LONG") == "full" else max(2, few)


@pytest.fixture
def run() -> Callable[..., Any]:
    """``run(main)`` runs the coroutine function on a loop of its own, ends a hang, and raises errors nobody awaited."""

    def run_main(main: Callable[[], Coroutine[Any, Any, T]], timeout: float = HANG_SECONDS) -> T:
        async def guarded() -> T:
            async with asyncio.timeout(timeout):
                return await main()

        return run_checked(guarded)

    return run_main


class _Lost(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test that asks for it opens by ``store_at`` is on PostgreSQL with SHOAL_TEST_BACKEND=cluster, its bus NATS."""
    if not on_cluster():
        yield
        return
    server, ask = request.getfixturevalue("postgres_server"), request.getfixturevalue("ask_postgres")
    monkeypatch.setenv("SHOAL_BUS", request.getfixturevalue("nats_url"))
    monkeypatch.setenv(POSTGRES, server.url)
    before = ask(STORES)
    yield
    request.node.stash[MADE_A_STORE] = ask(STORES) > before


@pytest.fixture
def store_url(backend: None, tmp_path: Path) -> str:
    """The URL of a store of this test alone; with SHOAL_TEST_BACKEND=cluster it is in PostgreSQL, and the bus is NATS."""
    return store_at(tmp_path / "shoal.db")


@pytest.fixture(autouse=True, scope="module")
def only_new_garbage() -> None:
    """Let a collection look at what this module's tests have made: what all tests together hold takes a second each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def lost_errors() -> Iterator[list[logging.LogRecord]]:
    """Fail a test in which an event loop reported an error that nobody awaited; one that expects it clears the list."""
    records: list[logging.LogRecord] = []
    handler = _Lost(records)
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    try:
        yield records
        gc.collect(1)  # an asyncio task whose error nobody looked at says so when it is collected
    finally:
        logger.removeHandler(handler)
    if records:
        formatter = logging.Formatter()
        pytest.fail("lost on an event loop:\n" + "\n".join(formatter.format(r) for r in records), pytrace=False)


class Hung(BaseException):
    """A test takes so long that it will never end. No ``except Exception`` may survive it."""


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """Let the first runtime of each test set the level of the log, as the first of a program does."""
    logger = logging.getLogger("shoal")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest.fixture(autouse=True)
def no_test_hangs() -> Iterator[None]:
    """Fail a test that takes longer than any should, in place of a whole run that never ends."""
    if os.environ.get("SHOAL_LONG") == "full":
        yield
        return

    def strike(number: int, frame: object) -> None:
        raise Hung(f"it takes longer than {WHOLE_TEST_SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, strike)
    signal.setitimer(signal.ITIMER_REAL, WHOLE_TEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def no_child_stays() -> Iterator[None]:
    """Fail a test that leaves a child process behind, zombies included; a server for all tests is none."""
    from tests.support import engines  # a plugin: importing it with this file would be before pytest does

    before = _children()
    yield
    deadline = time.monotonic() + CHILD_SECONDS
    while left := _children() - before - engines.running():
        if time.monotonic() > deadline:
            pytest.fail(f"child processes left: {[_describe(pid) for pid in left]}", pytrace=False)
        time.sleep(0.01)


def _children() -> set[str]:
    found: set[str] = set()
    for path in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        try:
            found.update(path.read_text().split())
        except OSError:  # that thread has just ended
            continue
    return found


def _describe(pid: str) -> str:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        line = "(gone)"
    return f"{pid} {line or '(zombie)'}"
