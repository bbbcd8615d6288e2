"""The tools of a folder: searching and reading below it, and nothing beside it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import ConfigError
from shoal.kernel.starting import live_in_memory
from shoal.llm import ToolCall
from shoal.llm.builtin import folder_tools
from shoal.llm.builtin.folder import Folder
from shoal.llm.toolbox import Toolbox


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_text("plum outside")
    docs = tmp_path / "my docs"
    (docs / "deep" / "er").mkdir(parents=True)
    (docs / ".git").mkdir()
    (docs / ".env").write_text("KEY=plum")
    (docs / ".git" / "config").write_text("plum")
    (docs / "a.txt").write_text("one\nTwo PLUM\nthree\n")
    (docs / "deep" / "er" / "b.md").write_text("a plum, a peach\nStraße\n")
    (docs / "binary").write_bytes(b"plum\0plum")
    (docs / "big").write_bytes(b"plum\n" * 1_000_000)
    (docs / "link.txt").symlink_to(tmp_path / "outside.txt")
    (docs / "up").symlink_to(tmp_path)
    (docs / "loop").symlink_to(docs)
    os.mkfifo(docs / "pipe")
    return docs


def use(folder: Path, verb: str, **arguments: Any) -> str:
    """Call a tool as a model does, and return what the model reads."""
    from msgspec import json

    async def main() -> str:
        tools = Toolbox(folder_tools(folder))
        name = next(spec.name for spec in tools.specs() if spec.name.startswith(verb))
        call = ToolCall(call_id="1", name=name, arguments=json.encode(arguments).decode())
        record = await tools.run(call, scope=live_in_memory("t").root, segment="t")
        return record.content

    return asyncio.run(main())


def test_search_finds_lines_in_order_and_nothing_hidden_linked_or_binary(docs: Path) -> None:
    assert use(docs, "search", text="plum") == "a.txt:2: Two PLUM\ndeep/er/b.md:1: a plum, a peach"
    assert use(docs, "search", text="STRASSE") == "deep/er/b.md:2: Straße"
    assert use(docs, "search", text="plum", path="deep") == "deep/er/b.md:1: a plum, a peach"
    assert use(docs, "search", text="plum", path="a.txt") == "a.txt:2: Two PLUM"
    assert use(docs, "search", text="kiwi") == "'kiwi' is nowhere in it"
    assert "text is empty" in use(docs, "search", text=" ")


def test_search_is_bounded(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.txt").write_text("plum " + "x" * 1000 + "\nplum\n" * 10)
    lines = use(tmp_path, "search", text="plum").splitlines()
    assert len(lines) == 101 and lines[-1] == "[there are more: the first 100 lines]"
    assert max(map(len, lines)) < 330


def test_read_gives_lines_and_lists_folders(docs: Path) -> None:
    assert use(docs, "read", path="a.txt") == "one\nTwo PLUM\nthree"
    assert use(docs, "read", path="./deep//er/b.md", first_line=2) == "Straße\n[lines 2 to 2 of 2]"
    assert use(docs, "read", path="a.txt", lines=1) == "one\n[lines 1 to 1 of 3]"
    assert use(docs, "read") == "a.txt (19 bytes)\nbig (5000000 bytes)\nbinary (9 bytes)\ndeep/"
    assert use(docs, "read", path="deep/") == "er/"


def test_a_long_file_comes_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n".join(f"line {number}" for number in range(1, 1001)))
    (tmp_path / "wide.txt").write_text("x" * 100_000)
    text = use(tmp_path, "read", path="long.txt", lines=10_000)
    assert text.endswith("line 400\n[lines 1 to 400 of 1000]")
    assert use(tmp_path, "read", path="long.txt", first_line=996).startswith("line 996\n")
    assert len(use(tmp_path, "read", path="wide.txt")) == 16_000


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *(
            ("../outside.txt", "stays in the folder"),
            ("/etc/passwd", "stays in the folder"),
            (".env", "nothing hidden"),
        ),
        *(
            (".git/config", "nothing hidden"),
            ("deep/../../outside.txt", "stays in the folder"),
            ("a\0b", "is relative"),
        ),
        *(("link.txt", "it is a link"), ("up/outside.txt", "it is a link"), ("loop/a.txt", "it is a link")),
        *(("binary", "is no text"), ("big", "has more than 2 MiB"), ("pipe", "is no file and no folder")),
        *(("nowhere.txt", "No such file or directory"), ("a.txt/b", "cannot be opened")),
    ],
)
def test_what_may_not_be_read_is_refused_with_the_reason(docs: Path, path: str, why: str) -> None:
    text = use(docs, "read", path=path)
    assert text.startswith("Error: ") and why in text
    assert "outside" not in text.replace("outside.txt", "") and "KEY" not in text


def test_a_link_put_there_in_between_leads_nowhere(docs: Path) -> None:
    """Every part of a path is opened below the one before it: what was checked is what is read."""
    folder = Folder(str(docs))
    assert folder.read("deep/er/b.md").startswith("a plum")
    (docs / "deep" / "er").rename(docs / "deep" / "moved")
    (docs / "deep" / "er").symlink_to(docs.parent)
    with pytest.raises(Exception, match="it is a link"):
        folder.read("deep/er/outside.txt")


def test_names_tell_tools_apart_and_what_is_no_folder_is_refused(docs: Path, tmp_path: Path) -> None:
    first = folder_tools(docs)
    assert [tool.label for tool in first] == ["search_my_docs", "read_my_docs"]
    again = folder_tools(docs, taken={tool.label for tool in first})
    assert [tool.label for tool in again] == ["search_my_docs_2", "read_my_docs_2"]
    assert first[0].spec.parameters["required"] == ["text"]
    assert "my docs" in first[0].spec.description
    for path in (tmp_path / "nowhere", docs / "a.txt"):
        with pytest.raises(ConfigError, match="there is no folder"):
            folder_tools(path)
