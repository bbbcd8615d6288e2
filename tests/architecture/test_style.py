"""Time and chance come from the clock; no error is swallowed; acceptance marks are well formed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import ROOT, SRC, files, short, tree

CLOCKED_MODULES = {"time", "random", "uuid", "secrets", "sched"}
CLOCKED_NAMES = {
    "asyncio.sleep",
    "asyncio.timeout",
    "asyncio.timeout_at",
    "asyncio.wait_for",
    "datetime.now",
    "datetime.utcnow",
}
OWN_TIME = {
    "kernel/clock.py": "it is the clock",
    "boxes/guest/": "another process, which has the standard library only",
    "boxes/vmcheck.py": "another process, which times the processor",
    "boxes/vmrelay.py": "another process, which tells a virtual machine the time",
    "orchestration/workflow/codeguest/": "a process in a box, which has the standard library only",
    "testing/": "the virtual clock, fault delays, and guards of the test kit against hanging",
}
MAY_NAME_CHANCE = {
    "kernel/ports/clock.py": "the type of Clock.random",
    "kernel/liverun.py": "the source that a run's own seed makes",
}


def _exempt(path: Path) -> bool:
    return any(short(path).startswith(place) for place in OWN_TIME)


def _uses(module: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.partition(".")[0] in CLOCKED_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            if node.module in CLOCKED_MODULES:
                yield node.lineno, node.module
            yield from ((node.lineno, n) for a in node.names if (n := f"{node.module}.{a.name}") in CLOCKED_NAMES)
        elif isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if any(name == clocked or name.endswith(f".{clocked}") for clocked in CLOCKED_NAMES):
                yield node.lineno, name


def test_time_sleep_chance_and_ids_come_from_the_clock() -> None:
    found = [
        f"{short(path)}:{line} {name}"
        for path in files()
        if not _exempt(path)
        for line, name in _uses(tree(path))
        if not (name == "random" and short(path) in MAY_NAME_CHANCE)
    ]
    assert found == [], "use the Clock port"


def test_every_exception_to_that_is_still_needed() -> None:
    for place in OWN_TIME:
        inside = [path for path in files() if short(path).startswith(place)]
        assert any(list(_uses(tree(path))) for path in inside), f"{place} needs no exception any more"


def _silent(handler: ast.ExceptHandler) -> bool:
    """Nothing is done, whatever it was; naming a narrow error and going on is a decision, this is none."""
    blind = handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    )
    return blind and all(
        isinstance(node, (ast.Pass, ast.Continue))
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for node in handler.body
    )


def test_no_error_is_swallowed() -> None:
    found = []
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and (node.type is None or _silent(node)):
                found.append(f"{short(path)}:{node.lineno}")
            elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "suppress":
                blind = any(ast.unparse(arg) in ("Exception", "BaseException") for arg in node.args)
                found += [f"{short(path)}:{node.lineno}"] * blind
    assert found == [], "name the errors, and say what becomes of them"


def test_acceptance_marks_are_written_out() -> None:
    """So that a search finds them; tests/conftest.py checks their form when tests are collected."""
    for path in files(ROOT / "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("mark.spec"):
                assert node.args, f"{short(path)}:{node.lineno} names no line"
                assert not node.keywords, f"{short(path)}:{node.lineno} takes ids only"


def test_every_file_looks_ahead_with_its_annotations() -> None:
    for path in files(SRC):
        body = tree(path).body
        if any(not isinstance(node, ast.Expr) for node in body) and "guest" not in path.parts:
            assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in body), short(path)
