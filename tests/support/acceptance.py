"""``--acceptance``: the acceptance lines of the issues on PostgreSQL and NATS, and whether one is missing.

Of each line it runs every test that stands on the fixture ``backend``, a test with parameters once. A line is held when
such a test ran and did make a store in PostgreSQL; one that fails is told as any test is. A line that is not held must be
in APART, with the reason; one that is held and stands there all the same is a fault too, so that APART only shrinks.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator

import pytest

from tests.support.backend import MADE_A_STORE

__all__ = ["APART"]

APART: dict[str, str] = {
    "the state machines and the refusals of the kernel, before it asks a store": "R23 R52",
    "rules of time, in virtual time, which a server has not": "R10 R15 R41 S12 S48",
    "a pattern that is run without a runtime keeps its steps in memory": "O1-O18 O33 O40-O43 O46-O49",
    "a box has no store; those of agents and runs are B47 to B49": "B1-B46 B50-B53",
    "locks on files and servers of tools have no store": "O23 O37",
    "arithmetic of a load balancer, a breaker, a schema": "S16-S18 S30 S32 S33 S39",
    "what runs on both servers in every run": "S46",
}
"""Why lines need no test on the cluster: the reason, then the lines."""
HELD = "ROBS"
"""The first letters of the lines in question: runtime, orchestration, boxes, services."""
_KNOWN = pytest.StashKey[set[str]]()
_HELD = pytest.StashKey[set[str]]()
_RAN = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--acceptance", action="store_true", help="only what holds acceptance lines on the cluster")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that hold a line on the cluster."""
    if not config.getoption("--acceptance"):
        return
    config.stash[_KNOWN] = {line for item in items for line in _lines(item)}
    config.stash[_HELD] = set()
    chosen = set(_chosen(items))
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which lines were held."""
    report = yield
    if report.when == "call" and not report.skipped:
        item.stash[_RAN] = True
    elif report.when == "teardown" and item.stash.get(MADE_A_STORE, False) and _HELD in item.config.stash:
        item.config.stash[_HELD].update(_lines(item) if item.stash.get(_RAN, False) else ())
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell how many lines are held, and what is wrong with the rest."""
    if _HELD not in config.stash:
        return
    known, held = config.stash[_KNOWN], config.stash[_HELD]
    for letter in HELD:
        here = [line for line in known if line[0] == letter]
        terminalreporter.write_line(f"{letter}: {len(held & set(here))} of {len(here)} lines held on the cluster")
    for fault in faults(known, held, apart()):
        terminalreporter.write_line(f"ERROR {fault}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that is fine but for a line nobody holds."""
    stash = session.config.stash
    if _HELD in stash and session.exitstatus == 0 and faults(stash[_KNOWN], stash[_HELD], apart()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def faults(known: set[str], held: set[str], apart: set[str]) -> list[str]:
    """Return what is wrong with *known* lines, of which *held* are held and *apart* need not be."""
    return [
        *(f"{line} is held by no test on PostgreSQL and NATS" for line in _sorted(known - held - apart)),
        *(f"{line} is held there, so it need not stand apart" for line in _sorted(apart & held)),
        *(f"{line} stands apart, and no test is marked with it" for line in _sorted(apart - known)),
    ]


def apart() -> set[str]:
    """Return the lines of APART, where ``B1-B46`` are all between."""
    found: set[str] = set()
    for words in APART.values():
        for word in words.split():
            first, _, last = word.partition("-")
            found.update(f"{first[0]}{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1))
    return found


def _sorted(lines: Iterable[str]) -> list[str]:
    return sorted(lines, key=lambda line: (HELD.index(line[0]), int(line[1:])))


def _chosen(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    once: set[tuple[str, frozenset[str]]] = set()
    for item in items:
        key = item.nodeid.partition("[")[0], frozenset(_lines(item))
        can = "backend" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("sqlite")
        if can and key[1] and key not in once:
            once.add(key)
            yield item


def _lines(item: pytest.Item) -> set[str]:
    return {str(line) for mark in item.iter_markers("spec") for line in mark.args if str(line)[0] in HELD}
