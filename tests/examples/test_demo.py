"""The demo: what it prints and hands in, undisturbed and killed in the middle, with and without a sandbox."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.programs import HANG_SECONDS, ROOT, Printed, play
from tests.llm_server import LlmServer, say
from tests.support.levels import need

DEMO = ROOT / "examples" / "demo" / "main.py"
BEGIN = """\
The team
  Orchestrator  plans, designs, decides, sums up (scripted)
  Researcher    looks up what is known (scripted)
  Developer     writes code and tests; a second one stands by (scripted)
  Reviewer      judges, and closes what it found (scripted)
Handed-in code runs in: {level}. Run id: auth-1.

[Orchestrator] Received task: Build user authentication API

[Orchestrator] Plan:
1. Analyze requirements → Need Researcher
2. Design architecture → Orchestrator (self)
3. Implement code → Need Developer
4. Write tests → Need Developer
5. Security review → Need Reviewer
6. Performance check → Need Developer
7. Final review → Need Reviewer

[Orchestrator] → [Researcher]:
"""
END = """\
What came of it
  tests         19 of 19 passed, measured ({level})
  coverage      98.2 %
  reviews       85/100 → 98/100 → 98/100
  issue R1      Missing rate limiting (HIGH): resolved
  issue R2      Token expiry too long (MEDIUM): resolved
  issue R3      No refresh token rotation (MEDIUM): resolved
  model calls   11 for $0.11{lives}
  report        out/report.md
  files         out/auth-api/auth_api.py out/auth-api/test_auth.py
Ready for deployment
Run its tests yourself: cd out/auth-api && python3 -m unittest
"""


def watch(folder: Path, *args: str, **env: str) -> Printed:
    return play(DEMO, folder, "--pace", "0", *args, env=env)


def test_what_it_prints_and_hands_in(tmp_path: Path) -> None:
    need("bubblewrap")
    printed = watch(tmp_path, ISOLATION="bubblewrap")
    assert printed.out.startswith(BEGIN.format(level="bubblewrap"))
    assert printed.out.endswith(END.format(level="bubblewrap", lives=""))
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.rstrip().endswith("Ready for deployment") and "| tests | 19 passed, measured |" in report
    made = subprocess.run(
        [sys.executable, "-m", "unittest"],
        cwd=tmp_path / "out" / "auth-api",
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert made.returncode == 0 and "Ran 19 tests" in made.stderr, made.stderr
    shown = (
        (ROOT / "README.md").read_text().partition("## A team at work")[2].partition("```text\n")[2].partition("```")[0]
    )
    left = printed.out
    for part in shown.split("…\n"):
        _, found, left = left.partition(part)
        assert found, f"the README shows what the demo does not print (any more, in this order):\n{part}"
    again = watch(tmp_path, ISOLATION="bubblewrap")
    assert again.out == printed.out, "each demo begins anew"


def test_killed_in_the_middle_it_asks_nobody_twice(tmp_path: Path) -> None:
    calm = watch(tmp_path, "--isolation", "process")
    printed = watch(tmp_path, "--isolation", "process", CRASH="1")
    told = "\n>>> The process was killed by SIGKILL. Another one goes on with the same run id.\n\n"
    assert printed.out.count(told) == 1
    lives = "; 6 before the kill, 5 after it, 0 twice"
    assert printed.out.endswith(END.format(level="process", lives=lives))
    whole = printed.out.replace(told, "").replace(lives, "")
    assert whole == calm.out, "both lives together print what one prints, and nothing of it twice"
    calls = [json.loads(line)["key"] for line in (tmp_path / "out" / ".state" / "calls.jsonl").read_text().splitlines()]
    assert len(calls) == len(set(calls)) == 11


def test_without_a_sandbox_it_says_so_and_asks_for_a_process_by_name(tmp_path: Path) -> None:
    printed = watch(tmp_path, PATH="/nonexistent")
    reasons, _, rest = printed.out.partition(
        "The code of this demo is its own: it asks for a plain process, by name.\n\n"
    )
    assert re.findall(r"^  (\w+): .", reasons, re.M) == ["bubblewrap", "gvisor", "microvm"]
    assert rest.startswith(BEGIN.format(level="process"))
    assert rest.endswith(END.format(level="process", lives=""))


def test_code_of_a_real_model_is_never_run_without_a_sandbox(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="If you trust it: make demo ISOLATION=process"):
        watch(tmp_path, PATH="/nonexistent", MODEL="openai:gpt-4o-mini")


def test_it_takes_the_model_of_a_provider(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    with LlmServer(say("So says a model.")) as server:
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url, "MODEL": "openai:gpt-4o-mini"}
        with pytest.raises(AssertionError, match="Not ready: there is no plan"):
            watch(tmp_path, "--isolation", "process", **env)
    assert len(server.seen) == 2, "the lead is asked for a plan, and once more"
