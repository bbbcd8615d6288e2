"""Which lines of a source can be executed, counted as coverage.py counts them: statements, by their first lines."""

from __future__ import annotations

import ast
import io
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from types import CodeType

__all__ = ["Statements"]

_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.ENDMARKER}


class Statements:
    """The executable lines of a source.

    A statement over several lines is one, known by its first line; docstrings are none, nor is what the compiler leaves
    out. Comments that ask to be left out (``pragma: no cover``) are not heard: whoever writes the code would decide on
    what counts. A source that does not compile has no such lines.
    """

    def __init__(self, source: str) -> None:
        self._first: dict[int, int] = {}
        self.lines: frozenset[int] = frozenset()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(source)
                code = compile(source, "<source>", "exec", dont_inherit=True)
            self._first = _first_lines(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError):
            return
        docstrings = set(_docstring_lines(tree))
        found = {line for line in _code_lines(code) if line not in docstrings}
        self.lines = frozenset(self._firsts(found) - docstrings)

    def _firsts(self, lines: Iterable[int]) -> set[int]:
        return {self._first.get(line, line) for line in lines}

    def executed(self, lines: Iterable[int]) -> frozenset[int]:
        """Return which of the executable lines were executed, when a tracer saw *lines*."""
        return self.lines & self._firsts(lines)


def _code_lines(code: CodeType) -> Iterator[int]:
    """Yield the lines of a code object and of all within it."""
    waiting = [code]
    while waiting:
        one = waiting.pop()
        yield from (line for _, _, line in one.co_lines() if line)
        waiting += [each for each in one.co_consts if isinstance(each, CodeType)]


def _first_lines(source: str) -> dict[int, int]:
    """Return the first line of each statement that has several, by each of its lines."""
    first, found = 0, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            if first and token.end[0] != first:
                found.update(dict.fromkeys(range(first, token.end[0] + 1), first))
            first = 0
        if token.string.strip() and token.type not in _LAYOUT and not first:
            first = token.start[0]
    return found


def _docstring_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or not node.body:
            continue
        text = node.body[0]
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str):
            yield from range(text.lineno, (text.end_lineno or text.lineno) + 1)
