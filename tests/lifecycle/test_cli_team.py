"""``shoal run`` on team files and patterns: results, reports, exit codes, what it says and what it does not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from shoal import AgentRuntime, orchestration
from shoal.teamfile import load_team
from tests.support.command import GUARD_SECONDS, SHOAL, environment, refused, shoal
from tests.support.teams import RESULTS, team_file, write_team

SECRET = "TELLTALE-42"
DROP = {"tool_calls": [{"call_id": "c1", "name": "drop", "arguments": '{"table": "users"}'}]}
HOLD = {"tool_calls": [{"call_id": "c1", "name": "hold", "arguments": '{"word": "b"}'}]}
BLOCK = {"tool_calls": [{"call_id": "c1", "name": "block", "arguments": '{"word": "b"}'}]}


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Carry out ``shoal run`` where nobody can be asked."""
    return subprocess.run(
        [SHOAL, "run", *words], cwd=folder, env=environment() | variables, stdin=subprocess.DEVNULL, text=True,
        capture_output=True, timeout=GUARD_SECONDS, check=False,
    )  # fmt: skip


@contextmanager
def begun(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [SHOAL, "run", *words], cwd=folder, env=environment() | {"SHOAL_CANCEL_GRACE_SECONDS": "0.5"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=GUARD_SECONDS)


def wait_for(path: Path) -> None:
    limit = time.monotonic() + GUARD_SECONDS
    while not path.exists() or not path.read_text():  # it may be there before its first line is
        assert time.monotonic() < limit, f"{path} never came"
        time.sleep(0.02)


def wait_for_step(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"it ended with {process.wait()} without {word!r}: {process.stderr and process.stderr.read()}")


# -- six patterns

ANSWERS = {
    "parallel": {"A": ["first"], "B": ["second"]},
    "pipeline": {"A": ["first"], "B": ["second"]},
    "supervisor": {
        "Planner": ['{"tasks": [{"worker": "Worker", "task": "dig"}]}', '{"tasks": []}'],
        "Worker": ["dug"] * 2, "Sum": ["all dug"],
    },
    "debate": {"A": ["yes\nPOSITION: yes"] * 9, "B": ["yes\nPOSITION: yes"] * 9, "Judge": ["agreed"] * 9},
    "team": {"A": ["one"], "B": ["a hole"]},
    "orchestrator": {
        "Lead": ["1. Implement code → Need Developer\n2. Security review → Need Reviewer", "all is done"],
        "Developer": ['{"summary": "did it", "files": {"app/auth.py": "x = 1\\n"}}'],
        "Reviewer": ['{"score": 98, "approved": true}'],
    },
}  # fmt: skip
PLAN = 'plan = "1. Design → Orchestrator (self)"'  # an echo makes none
OPTIONS = {
    "supervisor": 'planner = "Planner"\nsynthesizer = "Sum"\nmax_iterations = 1',
    "debate": 'moderator = "Judge"\nrounds = 2',
    "team": 'turn = "round_robin"\nstop = "hole"',
}


@pytest.mark.spec("W20")
@pytest.mark.parametrize("kind", ["echo", "scripted"])
@pytest.mark.parametrize("pattern", ANSWERS)
def test_each_pattern_of_a_team_file_runs_and_its_report_is_its_result(tmp_path: Path, pattern: str, kind: str) -> None:
    options = PLAN if (pattern, kind) == ("orchestrator", "echo") else OPTIONS.get(pattern, "")
    write_team(tmp_path, pattern, ANSWERS[pattern], options=options)
    models = ["--model", "echo"] if kind == "echo" else []
    words = ["team.toml", "dig a hole", "--run-id", "r", *models]
    done = run(tmp_path, *words, "--report", "r.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("run r\n") and "report in r.json" in done.stdout
    text = (tmp_path / "r.json").read_text()
    assert msgspec.json.decode(text, type=result_type(pattern)) == asyncio.run(again(tmp_path, pattern, models))
    whole = json.loads(text)
    assert (whole["run_id"], whole["success"]) == ("r", True) and whole["content"]
    once_more = run(tmp_path, *words, "--report", "r.md", "--json")
    assert (once_more.returncode, json.loads(once_more.stdout), once_more.stderr.splitlines()[0]) == (
        0, whole, "run r",
    )  # fmt: skip
    page = (tmp_path / "r.md").read_text()
    assert "> dig a hole" in page
    if pattern != "orchestrator":
        assert "## Cost" in page and "## Who said what" in page
        assert all(f"**{name}**" in page for name in ANSWERS[pattern]) or kind == "echo"
    elif kind == "scripted":
        assert "Ready for deployment" in page and whole["ready"] is True
        assert (tmp_path / "r" / "app" / "auth.py").read_text() == "x = 1\n"


def result_type(pattern: str) -> Any:
    return getattr(orchestration, RESULTS[pattern])


async def again(folder: Path, pattern: str, models: list[str]) -> Any:
    """Return the result of the finished run as it is stored."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        team = load_team("team.toml", model=models[1] if models else None)
    finally:
        os.chdir(before)
    async with AgentRuntime(folder / "shoal.db") as runtime:
        return await runtime.run(await team.open(runtime), "dig a hole", run_id="r")


def test_a_pattern_in_a_file_of_python_runs_as_one(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "from shoal import Agent\nfrom shoal.orchestration import Pipeline\n"
        "line = Pipeline([Agent(name='A', model='echo')])\nagent = Agent(name='Solo', model='echo')\n"
    )
    done = run(
        tmp_path, "p.py:line", "hello", "--context", "project=auth", "--context", "language=python", "--run-id", "r"
    )
    assert done.returncode == 0, done.stderr
    assert "project: auth\nlanguage: python\n\nhello" in done.stdout and (tmp_path / "report-r.md").exists()
    tasks = run(tmp_path, "p.py:agent", "one", "two")  # an agent works on tasks, as ever
    assert tasks.returncode == 0 and "[1] completed" in tasks.stdout, tasks.stderr
    refused(run(tmp_path, "p.py:agent", "one", "--run-id", "x"), 2, "--run-id", "not of an agent")
    refused(run(tmp_path, "p.py:line", "one", "--retries", "2"), 2, "--retries", "not of a pattern")
    refused(run(tmp_path, "p.py:line", "one", "two"), 2, "takes one task, not 2")
    refused(run(tmp_path, "p.py:line", " "), 2, "the task is empty")
    refused(run(tmp_path, "p.py:line", "one", "--run-id", ""), 2, "--run-id is empty")
    for word in (".", "team.yaml"):
        refused(run(tmp_path, word, "one"), 2, f"{word!r} is no team file", "Write FILE.toml", "FILE.py:NAME")
    refused(run(tmp_path, "p.py:line", "one", "--model", "echo"), 2, "--model")
    refused(run(tmp_path, "p.py:line", "one", "--context", "nonsense"), 2, "KEY=VALUE")
    refused(run(tmp_path, "p.py:line", "one", "--budget", "-1"), 2, "max_cost=-1")


# -- exit codes


@pytest.mark.spec("W21")
def test_a_pattern_that_fails_is_1_and_has_a_report(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"], "B": []})
    done = run(tmp_path, "team.toml", "dig", "--run-id", "r")
    assert done.returncode == 1 and "shoal: failed: " in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    page = (tmp_path / "report-r.md").read_text()
    assert page.startswith("# ") and "failed" in page.splitlines()[0] and "> first" in page


@pytest.mark.spec("W21")
def test_a_spent_budget_is_3_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "from shoal import Agent\nfrom shoal.llm.doubles import scripted\nfrom shoal.orchestration import Pipeline\n"
        "def costly(name): return Agent(name=name, model=scripted([f'{name} spoke'], cost=0.25, log='calls.log'))\n"
        "line = Pipeline([costly('A'), costly('B')])\n"
    )
    first = run(tmp_path, "p.py:line", "dig", "--run-id", "r", "--budget", "0.30", "--report", "r.json")
    assert first.returncode == 3 and "--run-id r and a larger --budget" in first.stderr, first.stderr
    assert json.loads((tmp_path / "r.json").read_text())["stopped"] == "budget"
    second = run(tmp_path, "p.py:line", "dig", "--run-id", "r", "--budget", "1", "--report", "r.json")
    assert second.returncode == 0, second.stderr
    whole = json.loads((tmp_path / "r.json").read_text())
    assert (whole["content"], whole["total_cost"]) == ("B spoke", 0.5)
    assert len((tmp_path / "calls.log").read_text().splitlines()) == 2, "what was paid for is not done again"


@pytest.mark.spec("W21")
def test_who_cannot_be_asked_is_4_and_yes_approves(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": [DROP, "all gone"]}, tools=["drop"])
    first = run(tmp_path, "team.toml", "dig", "--run-id", "r")
    assert first.returncode == 4, first.stderr
    assert 'waits for an approval: tool drop of A {"table":"users"}' in first.stderr
    assert "shoal runs approve r r:" in first.stderr and (tmp_path / "report-r.md").exists()
    assert "waiting" in shoal(tmp_path, "runs", "list").stdout
    approved = shoal(tmp_path, "runs", "approve", "r", "--by", "ada")
    assert approved.returncode == 0, approved.stderr
    assert run(tmp_path, "team.toml", "dig", "--run-id", "r").returncode == 0
    yes = run(tmp_path, "team.toml", "dig", "--run-id", "s", "--yes", "--json")
    assert yes.returncode == 0 and json.loads(yes.stdout)["content"] == "all gone", yes.stderr
    decided = json.loads(shoal(tmp_path, "runs", "show", "s", "--json").stdout)["approvals"]
    assert [(each["decision"], each["decided_by"].endswith(" (--yes)")) for each in decided] == [("approved", True)]


def test_whether_a_hidden_call_was_done_is_nothing_that_yes_answers(tmp_path: Path) -> None:
    call = {"tool_calls": [HOLD["tool_calls"][0] | {"name": "once"}]}
    write_team(tmp_path, "pipeline", {"A": [call, "last"]}, tools=["once"])
    with begun(tmp_path, "team.toml", "dig", "--run-id", "r") as process:
        wait_for(tmp_path / "calls.log")
        process.send_signal(signal.SIGKILL)
        process.wait(GUARD_SECONDS)
    done = run(tmp_path, "team.toml", "dig", "--run-id", "r", "--yes")
    assert done.returncode == 4 and "waits for an approval: outcome once of A" in done.stderr, done.stderr
    assert shoal(tmp_path, "runs", "approve", "r", "--note", "I saw that it was done").returncode == 0
    assert run(tmp_path, "team.toml", "dig", "--run-id", "r", "--yes").returncode == 0
    assert "I saw that it was done" in shoal(tmp_path, "runs", "show", "r", "--json").stdout
    assert (tmp_path / "calls.log").read_text().split() == ["b"]


@pytest.mark.spec("W21")
@pytest.mark.parametrize("pattern", ["pipeline", "orchestrator"])
def test_ctrl_c_once_keeps_the_work_and_the_same_id_goes_on(tmp_path: Path, pattern: str) -> None:
    lead: dict[str, list[Any]] = {"Lead": ["1. Research → Need A\n2. Build → Need B", "last"]}
    script: dict[str, list[Any]] = {"A": ["first"], "B": [HOLD, "last"], **(lead if pattern == "orchestrator" else {})}
    write_team(tmp_path, pattern, script, tools=["hold"])
    with begun(tmp_path, "team.toml", "dig", "--run-id", "r") as process:
        wait_for(tmp_path / "calls.log")
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 130, errors
    assert errors.startswith("stopping run r; once more to end now\n") and "--run-id r goes on" in errors
    assert "Traceback" not in errors and "report in report-r.md" in out
    page = (tmp_path / "report-r.md").read_text()
    if pattern == "orchestrator":
        assert "| 1 | Research | A | A | completed |" in page and page.splitlines()[-1].startswith("Not ready: ")
    else:
        assert "stopped (cancelled)" in page.splitlines()[0] and "> first" in page
    (tmp_path / "GO").touch()
    done = run(tmp_path, "team.toml", "dig", "--run-id", "r", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["content"] == "last", done.stderr


@pytest.mark.spec("W21")
def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "import asyncio\nfrom shoal.orchestration import Pipeline\n"
        "async def deaf(message):\n"
        "    print('begun', flush=True)\n"
        "    while True:\n"
        "        try:\n            await asyncio.sleep(600)\n"
        "        except asyncio.CancelledError:\n            pass\n"
        "line = Pipeline([deaf])\n"
    )
    with begun(tmp_path, "p.py:line", "dig", "--run-id", "r") as process:
        wait_for_step(process, "begun")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None and "once more" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.wait(timeout=GUARD_SECONDS)
    assert process.returncode == 130


# -- bad input

FAULTS = {
    "bad TOML": ("[team\n", ["TOML", "line 1"]),
    "unknown key": ('[team]\npattern = "pipeline"\nmodle = "x"\n[agents.A]\nmodel = "echo"\n', ["modle", "line 3"]),
    "unknown pattern": ('[team]\npattern = "pipline"\n[agents.A]\nmodel = "echo"\n', ["pipline", "did you mean 'pipeline'"]),
    "missing agent": (
        team_file("debate", {"Judge": {"model": "echo"}, "A": {"model": "echo"}}, options='moderator = "Jugde"'),
        ["Jugde", "Judge"],
    ),
    "missing tool file": (
        '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "echo"\ntools = ["nowhere.py:f"]\n', ["nowhere.py"],
    ),
    "literal key": (
        '[team]\npattern = "pipeline"\n[agents.A]\nmodel = "echo"\napi_key = "sk-TELLTALE"\n', ["api_key_env"],
    ),
}  # fmt: skip


@pytest.mark.spec("W21")
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_of_a_team_file_is_2_and_calls_nobody(tmp_path: Path, kind: str) -> None:
    text, words = FAULTS[kind]
    (tmp_path / "team.toml").write_text(text)
    done = run(tmp_path, "team.toml", "dig")
    refused(done, 2)
    told = done.stderr.lower()
    assert all(word.lower() in told for word in words), done.stderr
    assert "TELLTALE" not in done.stderr + done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["team.toml"], "nothing was opened, and nothing written"


@pytest.mark.spec("W21")
def test_all_faults_of_a_team_file_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text(
        '[team]\npattern = "pipline"\n[budget]\nmax_cots = 1\n'
        '[agents.A]\nmodel = "echo"\napi_key = "sk-TELLTALE"\nrol = "x"\n'
    )
    done = run(tmp_path, "team.toml", "dig")
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("pipline", "max_cots", "api_key", "rol")), done.stderr
    assert "TELLTALE" not in done.stderr


@pytest.mark.spec("W21")
def test_an_id_with_another_task_and_paths_that_cannot_be_written_are_2(tmp_path: Path) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"] * 3})
    assert run(tmp_path, "team.toml", "dig a hole", "--run-id", "r").returncode == 0
    report = (tmp_path / "report-r.md").read_text()
    other = run(tmp_path, "team.toml", "fly a kite", "--run-id", "r")
    assert other.returncode == 2 and "dig a hole" in other.stderr, other.stderr
    assert (tmp_path / "report-r.md").read_text() == report
    for path, word in (("nowhere/r.md", "nowhere"), ("r.txt", ".md or .json"), (".", ".md or .json")):
        refused(run(tmp_path, "team.toml", "dig", "--run-id", "s", "--report", path), 2, word)
    (tmp_path / "folder.md").mkdir()
    refused(run(tmp_path, "team.toml", "dig", "--run-id", "s", "--report", "folder.md"), 2, "it is a folder")
    refused(run(tmp_path, "team.toml", "dig", "--run-id", "s", "--events", "nowhere/e.jsonl"), 2, "nowhere")
    refused(run(tmp_path, "none.toml", "dig"), 2, "none.toml")
    refused(run(tmp_path, "team.toml"), 2)
    assert "s" not in [each["run_id"] for each in json.loads(shoal(tmp_path, "runs", "list", "--json").stdout)]


@pytest.mark.parametrize("run_id", ["..", ".hidden", "a b; rm -rf", "ü/no"])
def test_an_id_is_no_way_out_of_the_folder(tmp_path: Path, run_id: str) -> None:
    write_team(tmp_path, "pipeline", {"A": ["first"]})
    inside = tmp_path / "inside"
    inside.mkdir()
    done = run(inside, "../team.toml", "dig", "--run-id", run_id)
    assert done.returncode == (2 if "/" in run_id else 0), done.stderr
    assert {path.name for path in tmp_path.iterdir()} - {"inside", "__pycache__"} == {
        "team.toml",
        "tools.py",
        "script.json",
    }
    reports = [path.name for path in inside.iterdir() if path.name.startswith("report-")]
    assert len(reports) == (0 if "/" in run_id else 1)


class Refusing(BaseHTTPRequestHandler):
    """A provider that refuses every key, and says which."""

    keys: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.keys.append(self.headers["Authorization"])
        body = json.dumps({"error": {"message": f"wrong key: {self.headers['Authorization']}"}}).encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.mark.spec("W21")
def test_no_key_stands_in_report_events_or_output(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"
        (tmp_path / "team.toml").write_text(
            team_file("pipeline", {"A": {"model": "openai:gpt-5-mini", "base_url": url, "api_key_env": "MY_KEY"}})
        )
        words = ["team.toml", "dig", "--run-id", "r", "--events", "e.jsonl"]
        first = run(tmp_path, *words, "--report", "r.json", MY_KEY=f"sk-{SECRET}")
        second = run(tmp_path, *words, "--report", "r.md", MY_KEY=f"sk-{SECRET}")
        server.shutdown()
    assert first.returncode == second.returncode == 1, first.stderr
    assert Refusing.keys == [f"Bearer sk-{SECRET}"], "it was sent, and the run had failed then"
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"r.json", "r.md", "e.jsonl", "shoal.db"} <= {path.name for path in written}
    for said in (first.stdout, first.stderr, second.stdout, second.stderr):
        assert SECRET not in said
    assert [path.name for path in written if SECRET.encode() in path.read_bytes()] == []
