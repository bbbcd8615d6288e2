"""Every Python snippet of the README and the docs runs as it stands, and prints what stands below it.

A block ``python`` is a program: it runs in an empty folder, and a block ``text`` that follows it is what it prints
(without one it prints nothing). A block ``python fragment`` is part of a program: it is compiled only.

On a page of WALKED all blocks are one walk, in one folder: ``toml`` and ``json`` are written down as files, ``shell`` is run
and ends with what stands below it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.examples.programs import HANG_SECONDS, ROOT, play
from tests.support.levels import need

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FIRST_TEAM = ROOT / "docs" / "tutorial" / "your-first-team.md"
WALKED = {FIRST_TEAM: {"toml": "team.toml", "json": "replies.json"}}
BLOCK = re.compile(r"^```(?P<kind>[a-z ]*)\n(?P<body>.*?)^```$(?:\n\s*^```text\n(?P<printed>.*?)^```$)?", re.M | re.S)


def blocks(kind: str, besides: Collection[Path] = ()) -> list[object]:
    """Return (body, printed) of every block of this kind, named by page and line; but for those of pages in *besides*."""
    found: list[object] = []
    for page in [page for page in PAGES if page not in besides]:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match["kind"] == kind:
                line = text.count("\n", 0, match.start()) + 1
                found.append(pytest.param(match["body"], match["printed"], id=f"{page.stem}-{line}"))
    return found


@pytest.mark.parametrize(("body", "printed"), blocks("python", besides=WALKED))
def test_a_program_prints_what_the_page_says(body: str, printed: str | None, tmp_path: Path) -> None:
    if "BoxRuntime(" in body:
        need("bubblewrap")
    program = tmp_path / "program.py"
    program.write_text(body)
    assert play(program, tmp_path).out == (printed or "")


@pytest.mark.parametrize(("body", "printed"), blocks("python fragment"))
def test_a_fragment_compiles(body: str, printed: str | None) -> None:
    ast.parse("async def fragment():\n" + textwrap.indent(body, "    "))


def test_the_commands_of_the_readme_work_on_its_first_agent(tmp_path: Path) -> None:
    found = {match["kind"]: match["body"] for match in reversed(list(BLOCK.finditer((ROOT / "README.md").read_text())))}
    (tmp_path / "hello.py").write_text(found["python"])
    assert "Hello, Bob!" in typed(found["shell"], tmp_path) and (tmp_path / "events.jsonl").is_file()


@pytest.mark.parametrize("page", WALKED, ids=lambda page: str(page.stem))
def test_a_page_works_from_top_to_bottom(page: Path, tmp_path: Path) -> None:
    need("bubblewrap")
    for match in BLOCK.finditer(page.read_text()):
        kind, body, printed = match["kind"], match["body"], match["printed"] or ""
        if kind in WALKED[page]:
            (tmp_path / WALKED[page][kind]).write_text(body)
        elif kind == "shell":
            assert typed(body, tmp_path).endswith(printed)
        else:
            assert kind == "python", f"a block {kind!r} is nothing that can be tried"
            (tmp_path / "program.py").write_text(body)
            assert play(tmp_path / "program.py", tmp_path).out == printed


def typed(commands: str, folder: Path) -> str:
    """Return what *commands* print in *folder*; each must end well."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
    done = subprocess.run(
        ["sh", "-e", "-c", commands],
        cwd=folder,
        env={**variables, "PATH": path},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_python_block_is_one_or_the_other() -> None:
    kinds = {match["kind"] for page in PAGES for match in BLOCK.finditer(page.read_text())}
    assert {kind for kind in kinds if kind.startswith("py")} <= {"python", "python fragment"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"
