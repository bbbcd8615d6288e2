"""Sizes are a habit. What is larger stands in a list that may only shrink: a too generous entry fails as well."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.architecture.allowed import ALLOWED, REASONS
from tests.architecture.source import SRC, files, functions, short, tree

GENEROUS = {"file": 25, "function": 5, "parameters": 0, "public methods": 0, "inheritance": 0}
Found = Iterator[tuple[str, int]]


def _file_lines() -> Found:
    for path in files():
        yield short(path), len(path.read_text().splitlines())


def _function_lines() -> Found:
    for path in files():
        for name, node in functions(tree(path)):
            yield f"{short(path)}:{name}", (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return (first.end_lineno or 0) - first.lineno + 1
    return 0


def _parameters() -> Found:
    for path in files():
        for name, node in functions(tree(path)):
            given = node.args
            count = len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs)
            yield f"{short(path)}:{name}", count - (bool(given.args) and given.args[0].arg in ("self", "cls"))


def _classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                yield f"{short(path)}:{node.name}", node


def _public_methods() -> Found:
    for name, node in _classes():
        methods = [n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        yield name, len({method.name for method in methods if not method.name.startswith("_")})


def _inheritance() -> Found:
    bases = {
        name.rpartition(":")[2]: [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]
        for name, node in _classes()
        if not name.startswith(("errors/", "boxes/guest/errors.py"))
    }

    def depth(name: str) -> int:
        return 1 + max((depth(base) for base in bases[name] if base in bases and base != name), default=0)

    for name in bases:
        yield name, depth(name)


LARGEST = {"file": 500, "function": 60}
KINDS: dict[str, tuple[Callable[[], Found], int]] = {
    "file": (_file_lines, 300),
    "function": (_function_lines, 40),
    "parameters": (_parameters, 7),
    "public methods": (_public_methods, 15),
    "inheritance": (_inheritance, 2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_larger_than_its_limit_or_its_entry(kind: str) -> None:
    measure, limit = KINDS[kind]
    allowed = ALLOWED.get(kind, {})
    large = {name: size for name, size in measure() if size > allowed.get(name, limit)}
    assert not large, f"split these, by noun and not by kind (limit {limit}); a new entry in the list needs a reason"


@pytest.mark.parametrize("kind", KINDS)
def test_no_entry_is_too_generous(kind: str) -> None:
    measure, limit = KINDS[kind]
    sizes: dict[str, int] = {}
    for name, size in measure():
        sizes[name] = max(size, sizes.get(name, 0))
    for name, allowed in ALLOWED.get(kind, {}).items():
        size = sizes.get(name, 0)
        assert size > limit, f"{name} is within the limit of {limit} now: remove its entry"
        assert size >= allowed - GENEROUS[kind], f"{name} has {size} now: lower its entry of {allowed}"


@pytest.mark.parametrize("kind", LARGEST)
def test_what_is_larger_than_any_entry_may_be_says_why(kind: str) -> None:
    beyond = {name for name, size in ALLOWED.get(kind, {}).items() if size > LARGEST[kind]}
    assert beyond <= set(REASONS), f"at most {LARGEST[kind]}, or a reason in REASONS"


def test_the_source_is_found() -> None:
    assert SRC / "errors/root.py" in files()
