"""The real command ``shoal runs`` beside a process that carries a run out, and ``shoal chat``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.runs.killing import ROOT
from tests.support.command import GUARD_SECONDS, SHOAL, begin, environment, refused, said, shoal
from tests.support.terminal import terminal

AT_ONCE_SECONDS = 10  # a third of the time after which the process would look by itself


class Carrier:
    """The process that carries a run out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hear(self) -> Any:
        assert self.process.stdout is not None
        while True:  # what the agents themselves print is left out
            line = self.process.stdout.readline()
            assert line, f"it has ended with {self.process.wait()}"
            if line.startswith("{"):
                return json.loads(line)


@contextmanager
def carrier(folder: Path, kind: str, run_id: str = "r") -> Iterator[Carrier]:
    """Start a run in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lifecycle.runs.cli_runs_node", str(folder / "shoal.db"), kind, run_id],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment() | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
    )
    try:
        yield Carrier(process)
    finally:
        process.kill()
        process.communicate(timeout=GUARD_SECONDS)


def test_a_run_that_asks_is_shown_approved_and_goes_on_at_once(tmp_path: Path) -> None:
    with carrier(tmp_path, "careful") as running:
        question = running.hear()["asks"]
        watching = begin(tmp_path, "runs", "watch", "r", "--json")
        listed = shoal(tmp_path, "runs", "list").stdout
        assert "careful" in listed and "waiting" in listed and question in listed
        shown = said(shoal(tmp_path, "runs", "show", "r", "--json"))
        assert shown["run"]["status"] == "waiting" and shown["approvals"][0]["id"] == question
        assert "users" in shoal(tmp_path, "runs", "show", "r").stdout
        asked = time.monotonic()
        done = shoal(tmp_path, "runs", "approve", "r", "--by", "ada", "--note", "go on")
        assert done.stdout == f"{question}: approved by ada\n"
        assert running.hear() == {"content": "it said: dropped users", "stopped": None, "error": None}
        assert time.monotonic() - asked < AT_ONCE_SECONDS
        watched, _ = watching.communicate(timeout=GUARD_SECONDS)
    heard = [json.loads(line) for line in watched.splitlines()]
    assert [event["offset"] for event in heard] == list(range(1, len(heard) + 1))
    types = [event["type"] for event in heard]
    assert types[0] == "run_started" and types[-1] == "run_finished"
    assert types.index("approval_asked") < types.index("approval_given") < types.index("tool_finished")
    for after in range(len(heard) + 1):
        if after % 4 == 0:
            again = shoal(tmp_path, "runs", "watch", "r", "--after", str(after), "--json").stdout.splitlines()
            assert [json.loads(line) for line in again] == heard[after:]
    costs = shoal(tmp_path, "runs", "show", "r").stdout
    assert "$0.500000" in costs and "Admin" in costs and "completed" in costs
    assert "approved by ada: go on" in costs
    by_model = costs.partition("AGENT  MODEL")[2].splitlines()[1:]
    assert by_model and all(row.split()[-4] != "0" for row in by_model), "what made no call is no row"


@pytest.mark.spec("O50")
def test_a_second_decision_learns_of_the_first(tmp_path: Path) -> None:
    with carrier(tmp_path, "careful") as running:
        question = running.hear()["asks"]
        denied = shoal(tmp_path, "runs", "deny", "r", "--by", "ben", "--reason", "not on production")
        assert denied.stdout == f"{question}: denied by ben\n"
        ended = running.hear()
        assert "not on production" in ended["content"] and "dropped" not in ended["content"]
        second = shoal(tmp_path, "runs", "approve", "r", question, "--by", "ada")
        refused(second, 1, f"{question} was denied by ben before: that stands")
        again = shoal(tmp_path, "runs", "deny", "r", question, "--by", "ada")
        assert (again.returncode, again.stdout) == (0, f"{question}: already denied by ben\n")
    refused(shoal(tmp_path, "runs", "approve", "r"), 2, "run r asks nothing")


def test_a_run_is_cancelled_from_outside_and_goes_on_later(tmp_path: Path) -> None:
    with carrier(tmp_path, "gated") as running:
        running.hear()
        asked = time.monotonic()
        told = shoal(tmp_path, "runs", "cancel", "r", "--reason", "wrong question")
        assert told.stdout == "run r is being cancelled\n"
        assert running.hear() == {"content": "a(8)", "stopped": "cancelled", "error": "wrong question"}
        assert time.monotonic() - asked < AT_ONCE_SECONDS
        running.process.wait(timeout=GUARD_SECONDS)
    shown = said(shoal(tmp_path, "runs", "show", "r", "--json"))["run"]
    assert (shown["status"], shown["stopped"], shown["error"]) == ("cancelled", "cancelled", "wrong question")
    assert shoal(tmp_path, "runs", "cancel", "r").stdout == "run r had already ended\n"
    (tmp_path / "go").touch()
    with carrier(tmp_path, "gated") as running:
        running.hear()
        assert running.hear()["stopped"] is None
    assert (tmp_path / "calls.log").read_text().split() == ["a", "b", "b", "c"]


def test_a_run_is_forked_and_goes_on_from_there(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with carrier(tmp_path, "gated") as running:
        running.hear()
        whole = running.hear()
    forked = shoal(tmp_path, "runs", "fork", "r", "--before", "2:c/chat").stdout.strip()
    steps = said(shoal(tmp_path, "runs", "show", forked, "--json"))["steps"]
    assert [step["key"] for step in steps] == ["0:a/chat", "1:b/chat"]
    with carrier(tmp_path, "gated", forked) as running:
        assert running.hear() == whole
    assert (tmp_path / "calls.log").read_text().split() == ["a", "b", "c", "c"]
    refused(shoal(tmp_path, "runs", "fork", "r", "--before", "9:z"), 2, "'9:z'")
    listed = said(shoal(tmp_path, "runs", "list", "--json"))
    assert [run["run_id"] for run in listed] == [forked, "r"]
    assert said(shoal(tmp_path, "runs", "list", "--status", "waiting", "--json")) == []


@pytest.mark.spec("O50")
def test_what_is_not_there_is_a_line_and_a_code(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    with carrier(tmp_path, "gated") as running:
        running.hear()
        running.hear()
    for words in (["show", "nope"], ["watch", "nope"], ["cancel", "nope"], ["approve", "nope"], ["deny", "nope"]):
        refused(shoal(tmp_path, "runs", *words), 2, "there is no run 'nope'")
    refused(shoal(tmp_path, "runs", "fork", "nope", "--before", "x"), 2, "there is no run 'nope'")
    refused(shoal(tmp_path, "runs", "approve", "r", "nope"), 2, "there is no approval 'nope'")
    refused(shoal(tmp_path, "runs", "list", "--status", "odd"), 2, "odd")


# -- chat


def _chat(folder: Path, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SHOAL, "chat", *words],
        cwd=folder,
        env=environment(),
        input=lines,
        text=True,
        capture_output=True,
        timeout=GUARD_SECONDS,
        check=False,
    )


def test_chat_answers_one_message_and_tells_its_cost_beside(tmp_path: Path) -> None:
    done = _chat(tmp_path, "hello there")
    assert (done.returncode, done.stdout) == (0, "hello there\n"), done.stderr
    assert done.stderr.startswith("[echo: ") and done.stderr.count("\n") == 1
    whole = json.loads(_chat(tmp_path, "hello there", "--json").stdout)
    assert whole["content"] == "hello there" and whole["model"] == "echo"
    assert list(tmp_path.iterdir()) == []


def test_chat_answers_each_line_that_is_piped_in(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('["first", {"text": "second"}]')
    done = _chat(tmp_path, "--model", "scripted:script.json", lines="one\n\ntwo\n")
    assert (done.returncode, done.stdout) == (0, "first\nsecond\n"), done.stderr
    out = _chat(tmp_path, "-m", "scripted:script.json", lines="one\ntwo\nthree\n")
    assert (out.returncode, out.stdout) == (1, "first\nsecond\n")
    assert out.stderr.splitlines()[-1].startswith("shoal: ") or "shoal: " in out.stderr
    assert "Traceback" not in out.stderr


def test_chat_in_a_terminal_tells_an_error_of_the_model_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "script.json").write_text('{"Assistant": ["first"]}')
    with terminal(tmp_path, "chat", "--model", "scripted:script.json") as shown:
        shown.until("> ")
        shown.type("one\n")
        answered = shown.until("first")
        for _ in range(2):
            asked = shown.until("> ", answered)
            shown.type("more\n")
            answered = shown.until("script", shown.until("shoal: ", asked))
        shown.until("\n> ", answered)
        shown.type("\x04")
        assert shown.end() == 0
    assert "Traceback" not in shown.shown


def test_chat_keeps_a_conversation(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/talk.db"
    for message in ("one", "two"):
        done = _chat(tmp_path, message, "--store", store, "--thread", "t")
        assert (done.returncode, done.stdout) == (0, f"{message}\n"), done.stderr
    plain = _chat(tmp_path, "three", "--store", "talk.db", "--thread", "t")  # a plain path, as everywhere
    assert (plain.returncode, plain.stdout) == (0, "three\n"), plain.stderr
    refused(_chat(tmp_path, "x", "--thread", "t"), 2, "--thread needs --store")
    refused(_chat(tmp_path, "x", "--model", "nonsense:x"), 2, "nonsense")
