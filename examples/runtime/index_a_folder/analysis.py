"""What is in one file: counts, terms, definitions, and what it refers to. Pure functions of its text."""

from __future__ import annotations

import ast
import keyword
import re
from collections import Counter

__all__ = ["analyse", "count", "link"]

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{2,}")
FILE_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)*\.[A-Za-z]{1,5}\b")
TERMS = 8
COMMON_ENGLISH = """
    about after all also and any are because been before but can cannot class could does each else every for from get
    had has have here how import int into its just like list may more most must name new none not now off one only
    other our out over same self set should some str such than that the their them then there these they this three
    true two under until upon use used uses was were what when where which while who will with would you your
"""
COMMON = {*COMMON_ENGLISH.split(), *(word.lower() for word in keyword.kwlist)}


def count(text: str) -> dict[str, int]:
    """Return the numbers of lines, words and characters."""
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}


def analyse(path: str, language: str, text: str) -> dict[str, object]:
    """Return the terms of a file, its definitions, and the modules and files that it names."""
    definitions, imports, fault = _python(path, text) if language == "Python" else ([], [], None)
    if language == "Markdown":
        definitions = [{"kind": "heading", "name": name.strip(), "line": line} for line, name in _headings(text)]
    return {
        "terms": _terms(text),
        "definitions": definitions,
        "imports": imports,
        "mentions": sorted({name.removeprefix("./") for name in FILE_NAME.findall(text)}),
        "fault": fault,
    }


def _terms(text: str) -> list[str]:
    counts = Counter(word for word in WORD.findall(text) if word.lower() not in COMMON)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [word for word, _ in ordered[:TERMS]]


def _headings(text: str) -> list[tuple[int, str]]:
    found, in_code = [], False
    for number, line in enumerate(text.splitlines(), start=1):
        in_code ^= line.startswith("```")
        if not in_code and re.match(r"#{1,6} ", line):
            found.append((number, line.lstrip("#")))
    return found


def _python(path: str, text: str) -> tuple[list[dict[str, object]], list[str], str | None]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError) as error:
        return [], [], f"not parsed: {error}"
    definitions: list[dict[str, object]] = []
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            definitions.append({"kind": "class", "name": node.name, "line": node.lineno})
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            definitions.append({"kind": "function", "name": node.name, "line": node.lineno})
        elif isinstance(node, ast.Import):
            imports.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(path, node.level, node.module)
            imports.update({base, *(f"{base}.{alias.name}" for alias in node.names)} - {""})
    definitions.sort(key=lambda found: (found["line"], found["name"]))
    return definitions, sorted(imports), None


def _absolute(path: str, level: int, module: str | None) -> str:
    parts = path.split("/")[:-level] if level else []
    return ".".join([*parts, *([module] if module else [])])


def link(files: dict[str, dict[str, list[str]]]) -> list[dict[str, str]]:
    """Return the links between files: ``imports`` between Python files, else ``mentions``.

    A name stands for the one file whose path ends with it; a name that fits several files links none of them.
    """
    endings: dict[str, set[str]] = {}
    for path in files:
        parts = path.split("/")
        for start in range(len(parts)):
            endings.setdefault("/".join(parts[start:]), set()).add(path)

    def only(name: str) -> str | None:
        found = endings.get(name, set())
        return next(iter(found)) if len(found) == 1 else None

    links: set[tuple[str, str, str]] = set()
    for path, about in files.items():
        for module in about["imports"]:
            name = module.replace(".", "/")
            target = only(f"{name}.py") or only(f"{name}/__init__.py")
            if target and target != path:
                links.add((path, target, "imports"))
        for name in about["mentions"]:
            target = only(name)
            if target and target != path and (path, target, "imports") not in links:
                links.add((path, target, "mentions"))
    return [{"from": source, "to": target, "kind": kind} for source, target, kind in sorted(links)]
