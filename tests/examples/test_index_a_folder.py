"""The indexing of a small folder: undisturbed, and with its runtime killed half-way; the reports are the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.examples.programs import ROOT, Printed, play

PROGRAM = ROOT / "examples" / "runtime" / "index_a_folder" / "main.py"
MODULES = 24
TASKS = 2 * (MODULES + 5) + 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with modules that import one another, a readme that names some, and files that are not to be read."""
    place = tmp_path / "sample"
    (place / "pack").mkdir(parents=True)
    (place / ".hidden").mkdir()
    (place / ".hidden" / "secret.py").write_text("x = 1\n")
    (place / "picture.png").write_bytes(b"\x89PNG\0")
    (place / "README.md").write_text("# Sample\n\nSee `pack/module_00.py`.\n\n```\n# no heading\n```\n## More | less\n")
    (place / "broken.py").write_text("def broken(:\n")
    (place / "latin.txt").write_bytes("Wörter über Wörter\n".encode("latin-1"))
    (place / "Makefile").write_text("all:\n\techo done\n")
    (place / "pack" / "__init__.py").write_text("")
    for number in range(MODULES):
        other = f"from pack.module_{number - 1:02} import value\n" if number else "value = 1\n"
        body = f"class Thing{number}:\n    def method(self):\n        return value\n"
        (place / "pack" / f"module_{number:02}.py").write_text(f"{other}\n\n{body}")
    return place


def index(out: Path) -> Any:
    return json.loads((out / "index.json").read_text())


def report(out: Path) -> tuple[bytes, bytes]:
    return (out / "report.md").read_bytes(), (out / "index.json").read_bytes()


def books(printed: Printed) -> dict[str, list[int]]:
    """Return done, lost and done twice by book, as printed."""
    rows = [line for line in printed.out.splitlines() if "(e" in line]
    return {
        name: [int(word) for word in re.findall(r"\d+", row)]
        for name, row in zip(("events", "effects"), rows, strict=True)
    }


def test_what_it_finds(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    printed = play(PROGRAM, tmp_path, str(folder), "--out", str(out))
    assert books(printed) == {"events": [TASKS, 0, 0], "effects": [TASKS, 0, 0]}
    found = index(out)
    files = {file["path"]: file for file in found["files"]}
    assert [file["path"] for file in found["files"]] == sorted(files)
    assert len(files) == MODULES + 5 and ".hidden/secret.py" not in files and "picture.png" not in files
    module = files["pack/module_07.py"]
    assert (module["language"], module["lines"], module["words"]) == ("Python", 6, 10)
    assert [(d["kind"], d["name"], d["line"]) for d in module["definitions"]] == [
        ("class", "Thing7", 4),
        ("function", "method", 5),
    ]
    assert module["terms"][0] == "value"
    assert [d["name"] for d in files["README.md"]["definitions"]] == ["Sample", "More | less"]
    assert files["broken.py"]["fault"].startswith("not parsed")
    assert {"from": "README.md", "to": "pack/module_00.py", "kind": "mentions"} in found["links"]
    imports = [link for link in found["links"] if link["kind"] == "imports"]
    assert len(imports) == MODULES - 1
    assert "| README.md | Markdown | 8 |" in (out / "report.md").read_text()


def test_a_killed_runtime_makes_the_same_report(folder: Path, tmp_path: Path) -> None:
    calm, crashed = tmp_path / "calm", tmp_path / "crashed"
    play(PROGRAM, tmp_path, str(folder), "--out", str(calm))
    printed = play(PROGRAM, tmp_path, str(folder), "--out", str(crashed), "--pace", "0.02", env={"CRASH": "1"})
    assert report(crashed) == report(calm)

    assert "Executed twice without such a reason: 0\n" in printed.out
    killed = re.search(r"SIGKILL after (\d+) of (\d+) tasks", printed.out)
    assert killed and TASKS // 2 <= int(killed[1]) < TASKS and int(killed[2]) == TASKS
    counted = books(printed)
    assert counted["events"] == [TASKS, 0, 0]
    assert counted["effects"][:2] == [TASKS, 0]

    events = [json.loads(line) for line in (crashed / ".state" / "events.jsonl").read_text().splitlines()]
    kinds = Counter(event["event_type"] for event in events)
    assert kinds["task_enqueued"] == kinds["task_completed"] == TASKS
    assert kinds["task_interrupted"] >= 1  # it was really at work when it was killed
    assert kinds["runtime_started"] == 3  # the killed one, the one after it, and the count
    effects = Counter((crashed / ".state" / "effects.log").read_text().splitlines())
    assert sum(number > 1 for number in effects.values()) == counted["effects"][2] <= kinds["task_interrupted"]


def test_the_out_folder_is_not_indexed(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        play(PROGRAM, tmp_path, str(folder), "--out", str(folder / "results"))
        assert len(index(folder / "results")["files"]) == MODULES + 5


@pytest.mark.parametrize("empty", [True, False])
def test_a_folder_that_is_no_good_is_named(tmp_path: Path, empty: bool) -> None:
    place = tmp_path / "nothing"
    if empty:
        place.mkdir()
    with pytest.raises(AssertionError, match=r"nothing (has no text|is not a folder)"):
        play(PROGRAM, tmp_path, str(place))
