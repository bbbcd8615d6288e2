"""What runs inside a box needs the standard library only, and little of it before it says hello."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import SRC, files, short, tree

GUEST = SRC / "boxes" / "guest"
ALONE = {"vmwire", "vmbridge"}
"""What starts a virtual machine runs where its directory is no package yet."""
UNPACKING = ("program.py", "Functions.__init__", "cloudpickle")
"""The one place where a program is unpacked."""


def _imports(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield (what is imported, the function it is imported in)."""

    def walk(node: ast.AST, where: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, where) for alias in child.names)
            elif isinstance(child, ast.ImportFrom) and child.level == 0:
                yield child.module or "", where
            named = isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            yield from walk(child, f"{where}.{child.name}".lstrip(".") if named else where)  # type: ignore[attr-defined]

    yield from walk(module, "")


def test_a_guest_imports_the_standard_library_and_itself() -> None:
    found = [
        (path.name, where, name)
        for path in files()
        if path.parent == GUEST
        for name, where in _imports(tree(path))
        if name.partition(".")[0] not in sys.stdlib_module_names | ALONE
    ]
    assert found == [UNPACKING]


def test_what_the_host_shares_with_it_is_light() -> None:
    code = "import sys; before = set(sys.modules); import shoal.boxes.guest.frames; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert {name for name in done.stdout.split() if name.startswith("shoal.boxes.")} == {
        "shoal.boxes.guest",
        "shoal.boxes.guest.frames",
    }


def test_nothing_slow_is_imported_before_hello() -> None:
    before = {name for name, where in _imports(tree(GUEST / "main.py")) if where == ""}
    assert before <= {"__future__", "fcntl", "os", "struct", "sys"}


def test_a_box_loads_no_event_loop_and_no_unpickling_before_it_needs_them() -> None:
    code = f"""
import sys
sys.path[:0] = [{str(GUEST.parent)!r}]
import guest.box
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "guest.box" in loaded
    assert loaded.isdisjoint({"asyncio", "pickle", "traceback", "inspect", "typing_extensions", "socket", "logging"})


def test_the_parts_of_a_guest_are_found() -> None:
    names = {Path(short(path)).name for path in files() if path.parent == GUEST}
    assert {"main.py", "box.py", "program.py"} <= names
