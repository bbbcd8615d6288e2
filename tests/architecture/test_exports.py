"""``__all__`` is true and complete."""

from __future__ import annotations

import ast
import importlib

import pytest

from tests.architecture.source import SRC, files, module_name, tree


def _declares(module: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
        for node in module.body
    )


DECLARING = [module_name(path) for path in files() if _declares(tree(path)) and "guest" not in path.parts]


@pytest.mark.parametrize("name", DECLARING)
def test_every_name_of_all_is_there_once(name: str) -> None:
    module = importlib.import_module(name)
    assert len(set(module.__all__)) == len(module.__all__)
    assert [word for word in module.__all__ if not hasattr(module, word)] == []


@pytest.mark.parametrize("name", DECLARING)
def test_every_public_class_and_function_that_a_module_defines_is_in_all(name: str) -> None:
    path = SRC.parent.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {node.name for node in tree(path).body if isinstance(node, kinds) and not node.name.startswith("_")}
    if name == "shoal.testing.plugin":
        defined = set()  # pytest finds fixtures and hooks by their names
    assert defined - set(importlib.import_module(name).__all__) == set(), "make it private or export it"
