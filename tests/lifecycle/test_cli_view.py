"""The views of a run: drawn in place on a real terminal, as lines elsewhere, the same from another process."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lifecycle.test_cli_team import BLOCK, DROP, HOLD, begun, run, wait_for
from tests.support.command import GUARD_SECONDS, SHOAL, begin, environment, shoal
from tests.support.teams import write_team
from tests.support.terminal import terminal

NASTY = "\x1b[31mred\x1b]0;title\x07 \x9b2J words"


def test_on_a_terminal_a_run_is_drawn_in_place(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first words"], "B": ["last words"]}, budget="max_cost = 2.0")
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "auth-1") as shown:
        assert shown.end() == 0
    lines = shown.screen
    assert lines[0] == "run auth-1", "it is printed first"
    assert lines[1].startswith("run auth-1  team  completed") and "$0.0000 (0% of $2.00)" in lines[1]
    for name, line in zip("AB", lines[2:4], strict=True):
        words = line.split()
        assert words[:2] == [name, "done"] and "tokens" in words and words[-1] == "$0.0000"
    assert "  A: first words" in lines and "  B: last words" in lines
    assert sum(line.startswith("run auth-1  team") for line in lines) == 1, "it is drawn over itself"
    assert [line for line in lines if line][-2:] == ["last words", "report in report-auth-1.md; $0.000000"]
    assert shown.shown.rfind("\x1b[?25h") > shown.shown.rfind("\x1b[?25l"), "the cursor is there again"


@pytest.mark.parametrize("size", [(24, 100), (6, 40), (3, 10)])
def test_no_line_is_wider_and_no_frame_higher_than_the_terminal(tmp_path: Path, size: tuple[int, int]) -> None:
    script = {f"Agent-with-a-long-name-{number}": ["long words " * 30 + "日本語" * 20] for number in range(9)}
    write_team(tmp_path, "parallel", script)
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r", size=size) as shown:
        assert shown.end() == 0
    lines = shown.screen
    first = next(index for index, line in enumerate(lines) if line.startswith("run r") and index > 0)
    frame = lines[first : lines.index("", first)]
    assert all(len(line) <= size[1] for line in frame) and len(frame) <= size[0]


def test_words_of_models_do_not_command_the_terminal(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": [NASTY]})
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        assert shown.end() == 0
    for sent in ("\x1b[31m", "\x1b]0", "\x07", "\x9b"):
        assert sent not in shown.shown
    assert "\\x1b[31mred" in shown.shown
    piped = run(tmp_path, "team.toml", "dig", "--run-id", "r")
    assert "\x1b" not in piped.stdout and "\x1b" not in (tmp_path / "report-r.md").read_text()


@pytest.mark.parametrize("words", [["--plain"], ["--json"]])
def test_a_terminal_can_have_lines_or_json(tmp_path: Path, words: list[str]) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"]})
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r", *words) as shown:
        assert shown.end() == 0
    assert "\x1b" not in shown.shown
    if words == ["--plain"]:
        assert [line.split()[0] for line in shown.screen[1:4]] == ["1", "2", "3"]
    else:
        assert json.loads(shown.shown.partition("\n")[2])["content"] == "first"


# -- questions


@pytest.mark.parametrize("answer", ["y", "yes go on", "n not on production"])
def test_what_has_to_be_approved_is_asked_on_the_terminal(tmp_path: Path, answer: str) -> None:
    write_team(tmp_path, "pipeline", {"A": [DROP, "all done"]}, tools=["drop"])
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        shown.until("approve? y, or n and the reason: ")
        assert 'tool drop of A {"table":"users"}' in shown.shown
        shown.type("what\n")
        shown.until("y or n: ")
        shown.type(f"{answer}\n")
        assert shown.end() == 0
    (decided,) = json.loads(shoal(tmp_path, "runs", "show", "r", "--json").stdout)["approvals"]
    assert decided["decision"] == ("denied" if answer.startswith("n") else "approved")
    assert decided.get("note", "") == answer.partition(" ")[2]
    assert any(line.startswith("run r  team  completed") for line in shown.screen)


def test_a_plan_and_a_result_are_shown_to_whoever_approves_them(tmp_path: Path) -> None:
    script = {"Lead": ["1. Research → Need A", "all\nis done"], "A": ["first words"]}
    write_team(tmp_path, "orchestrator", script, options='approve = ["plan", "final"]')
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        asked = shown.until("approve?")
        assert shown.screen[-3:-1] == ["plan of team", "  1. Research → A"]
        shown.type("y\n")
        shown.until("approve?", asked)
        assert shown.screen[-4:-1] == ["final of team", "all", "is done"]
        shown.type("n not today\n")
        assert shown.end() == 1
    assert "stopped (denied)" in shown.shown
    assert "Not ready" in (tmp_path / "report-r.md").read_text()


def test_a_question_that_is_decided_elsewhere_is_asked_no_longer(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": [DROP, "all done"]}, tools=["drop"])
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        shown.until("approve?")
        assert shoal(tmp_path, "runs", "approve", "r", "--by", "ada").returncode == 0
        assert shown.end() == 0
    assert "approved by ada" in shown.shown


def test_a_question_can_be_left_open_and_the_run_be_ended(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": [DROP, "all done"]}, tools=["drop"])
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        shown.until("approve?")
        shown.type("\x04")
        shown.until("left open")
        shown.until("waits for a person: A tool drop")
        shown.type("\x03")
        assert shown.end() == 130
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        shown.until("approve?")  # nobody has decided it
        shown.type("\x03")
        assert shown.end() == 130
    assert shown.shown.count("approve?") == 1 and "Traceback" not in shown.shown


def test_what_is_printed_and_logged_stands_above_the_view(tmp_path: Path) -> None:
    call = {"tool_calls": [{"call_id": "c1", "name": "noisy", "arguments": '{"word": "w"}'}]}
    write_team(tmp_path, "pipeline", {"A": [call, "all done"]}, tools=["noisy"])
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        assert shown.end() == 0
    lines = shown.screen
    view = next(index for index, line in enumerate(lines) if line.startswith("run r  team  completed"))
    above = "\n".join(lines[:view])
    assert "printed w" in above and "logged w" in above
    assert sum(line.startswith("run r  team") for line in lines) == 1


# -- Ctrl-C


def test_ctrl_c_on_a_terminal_keeps_the_work(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"], "B": [HOLD, "last"]}, tools=["hold"])
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r") as shown:
        shown.until("tool hold")
        shown.type("\x03")
        assert shown.end() == 130
    lines = shown.screen
    assert any(line.startswith("run r  team  cancelled") for line in lines)
    assert any("--run-id r goes on" in line for line in lines)
    assert sum(line.startswith("run r  team") for line in lines) == 1, "what Ctrl-C says does not disturb the view"
    assert "stopping run r; once more to end now" in shown.shown
    assert "Traceback" not in shown.shown


def test_ctrl_c_twice_on_a_terminal_ends_at_once(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": [BLOCK, "last"]}, tools=["block"])
    grace = {"SHOAL_CANCEL_GRACE_SECONDS": "600"}
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r", variables=grace) as shown:
        shown.until("tool block")
        shown.type("\x03")
        shown.until("once more to end now")
        shown.type("\x03")
        assert shown.end() == 130
    assert shown.shown.rfind("\x1b[?25h") > shown.shown.rfind("\x1b[?25l"), "the cursor is there again"
    assert "Traceback" not in shown.shown


# -- another life, another process


@pytest.mark.spec("W22")
@pytest.mark.parametrize("pattern", ["pipeline", "orchestrator"])
def test_a_killed_run_goes_on_and_both_views_show_its_earlier_steps(tmp_path: Path, pattern: str) -> None:
    plan = "1. Research → Need A\n2. Build → Need B"
    lead: dict[str, list[Any]] = {"Lead": [plan, "all is done"]} if pattern == "orchestrator" else {}
    write_team(tmp_path, pattern, {"A": ["first words"], "B": [HOLD, "last words"], **lead}, tools=["hold"])
    with begun(tmp_path, "team.toml", "dig", "--run-id", "r", "--events", "one.jsonl") as process:
        wait_for(tmp_path / "calls.log")
        process.send_signal(signal.SIGKILL)
        assert process.wait(GUARD_SECONDS) == -signal.SIGKILL
    with terminal(tmp_path, "run", "team.toml", "dig", "--run-id", "r", "--events", "two.jsonl") as shown:
        shown.until("goes on where an earlier process left it")
        to = " → Orchestrator" if lead else ""
        shown.until(f"A{to}: first words")
        with terminal(tmp_path, "runs", "watch", "r") as watching:
            watching.until("tool hold")
            lines = begin(tmp_path, "runs", "watch", "r", "--json")
            (tmp_path / "GO").touch()
            assert shown.end() == 0
            assert watching.end() == 0
        watched = [json.loads(line) for line in lines.communicate(timeout=GUARD_SECONDS)[0].splitlines()]
    told = [json.loads(line) for line in (tmp_path / "two.jsonl").read_text().splitlines()]
    assert watched == told and [event["offset"] for event in told] == list(range(1, len(told) + 1))
    before = [json.loads(line) for line in (tmp_path / "one.jsonl").read_text().splitlines()]
    assert before and all(event in told for event in before if event["type"] == "step_finished")
    once = [event["path"] if event["type"] == "step_finished" else event["data"].get("key") for event in told]
    assert all(once.count(each) == 1 for each in once if each is not None), "no step, and no word of the trace, twice"
    for screen in (shown.screen, watching.screen):
        whole = "\n".join(screen)
        assert "run r  team  completed" in whole and "goes on where" in whole
        assert f"A{to}: first words" in whole and f"B{to}: last words" in whole
        state = {line.split()[0]: line.split()[1] for line in screen if " tokens " in line}
        assert state == dict.fromkeys(("A", "B", *lead), "done")
    assert (tmp_path / "calls.log").read_text().split() == ["b", "b"], "what was cut off is done again, nothing else"


def test_watch_says_at_once_that_there_is_no_such_run(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"]})
    assert run(tmp_path, "team.toml", "dig", "--run-id", "r").returncode == 0
    with terminal(tmp_path, "runs", "watch", "nope") as shown:
        assert shown.end() == 2
    assert shown.shown.strip() == "shoal: there is no run 'nope'"
    plain = subprocess.run(
        [SHOAL, "runs", "watch", "r"], cwd=tmp_path, env=environment(), text=True, capture_output=True, check=True
    )
    with terminal(tmp_path, "runs", "watch", "r", "--plain") as lines:
        assert lines.end() == 0
    assert [line.split()[0] for line in plain.stdout.splitlines()] == [line.split()[0] for line in lines.screen if line]
