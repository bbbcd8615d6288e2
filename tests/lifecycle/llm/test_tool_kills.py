"""A process that is killed inside a tool, or while a person is asked: what the next one does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.backend import store_at
from tests.support.processes import Script, script

pytestmark = pytest.mark.usefixtures("backend")

NODE = Path(__file__).with_name("tool_node.py")


@contextmanager
def life(folder: Path, effect: str, place: str) -> Iterator[Script]:
    with script(NODE, str(folder), effect, place, store_at(folder / "shoal.db")) as node:
        yield node


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def kill_inside(folder: Path, effect: str) -> None:
    with life(folder, effect, "inside") as node:
        assert node.hear() == ["inside"]
        node.signal(signal.SIGKILL)


@pytest.mark.spec("O36")
@pytest.mark.parametrize("effect", ["repeat", "keyed"])
def test_killed_inside_a_tool_that_may_run_again(tmp_path: Path, effect: str) -> None:
    kill_inside(tmp_path, effect)
    with life(tmp_path, effect, "inside") as node:
        assert node.hear() == ["done", "told: paid bob", 2, 1]
    keys = lines(tmp_path / "paid.log")
    assert len(keys) == 2 and keys[0] == keys[1]
    assert len(lines(tmp_path / "model.log")) == 2  # one call of the model before the tool, one after it


@pytest.mark.spec("O36")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ("approve receipt 17", "told: receipt 17"),
        ("deny no receipt", "told: Error: 'pay' was not done: no receipt; a person (eve) has looked"),
    ],
)
def test_killed_inside_a_tool_that_runs_once(tmp_path: Path, answer: str, told: str) -> None:
    kill_inside(tmp_path, "once")
    with life(tmp_path, "once", "inside") as node:
        assert node.hear()[:2] == ["asked", "outcome"]
        node.tell(answer)
        assert node.hear()[:2] == ["done", told]
    assert len(lines(tmp_path / "paid.log")) == 1
    assert len(lines(tmp_path / "model.log")) == 2


@pytest.mark.spec("O35")
@pytest.mark.parametrize("effect", ["repeat", "keyed", "once"])
def test_killed_while_waiting_and_approved_after_the_restart(tmp_path: Path, effect: str) -> None:
    with life(tmp_path, effect, "waiting") as node:
        word, kind, question = node.hear()
        assert (word, kind) == ("asked", "tool")
        node.signal(signal.SIGKILL)
    assert lines(tmp_path / "paid.log") == []
    with life(tmp_path, effect, "waiting") as node:
        assert node.hear() == ["asked", "tool", question]
        node.tell("approve fine")
        assert node.hear() == ["done", "told: paid bob", 2, 1]
    assert len(lines(tmp_path / "paid.log")) == 1
    assert len(lines(tmp_path / "model.log")) == 2


@pytest.mark.spec("O35")
def test_killed_while_waiting_and_denied_after_the_restart(tmp_path: Path) -> None:
    with life(tmp_path, "once", "waiting") as node:
        node.hear()
        node.signal(signal.SIGKILL)
    with life(tmp_path, "once", "waiting") as node:
        node.hear()
        node.tell("deny too much")
        assert node.hear()[1] == "told: Error: 'pay' was denied by eve: too much; it was not run"
    assert lines(tmp_path / "paid.log") == []
