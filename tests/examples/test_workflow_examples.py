"""The examples of the workflow print what they say, with scripted models and with one of the reader's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.programs import HANG_SECONDS, ROOT, play
from tests.llm_server import LlmServer, say
from tests.support.levels import need

EXAMPLES = ROOT / "examples" / "workflow"
PRINTED = {
    "conflict": """\
[Developer]: "We should use synchronous hashing for performance"
[Reviewer]: "Synchronous hashing is vulnerable to timing attacks"

[Orchestrator] Resolution:
1. Analyze both arguments
2. Check security requirements
3. Propose solution: async with security

Final Decision: Use bcrypt (async-compatible) with proper
timing attack protection. Developer implements, Reviewer approves.

Result: Security wins, but performance impact minimized.

Decided by: security_first
Evidence of Developer: bench_login.py: 412 logins/s, 318 with a thread for each hash
Evidence of Reviewer: CWE-208
Evidence of Reviewer: auth_api.py:88 answers 240 ms sooner when there is no such user
Dissent of Developer: We should use synchronous hashing for performance
""",
    "recovery": """\
[Orchestrator] → [Developer]: Task failed
  Reason: Timeout (agent took >30min)

[Orchestrator] Recovery Actions:
1. Check agent health
2. Re-assign task to different agent instance
3. Notify of delay
4. Adjust timeline
5. Log for monitoring

Recovery Result: Task completed by backup agent
Total delay: 5 minutes

30 min  Checked the health of Developer: unhealthy
30 min  Re-assigned the task from Developer to Backup
30 min  Told Reviewer of the delay
30 min  Adjusted the due times of this step and 1 after it
30 min  Logged for monitoring: Timeout (agent took >30min)
Implement code: completed by Backup after 35 min, due at 35 min
Security review: completed by Reviewer after 35 min, due at 65 min
""",
}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_says(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert play(EXAMPLES / f"{name}.py", tmp_path).out == PRINTED[name]


@pytest.mark.spec("W7")
def test_ten_runs_of_the_hashing_dispute_print_the_same(tmp_path: Path) -> None:
    printed = {play(EXAMPLES / "conflict.py", tmp_path).out for _ in range(10)}
    assert printed == {PRINTED["conflict"]}


@pytest.mark.parametrize("name", ["conflict"])
def test_an_example_takes_another_model(name: str, tmp_path: Path) -> None:
    assert play(EXAMPLES / f"{name}.py", tmp_path, "--model", "echo").out != PRINTED[name]


def test_the_conflict_takes_the_model_of_a_provider(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    with LlmServer(say("So says a model.")) as server:
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url}
        printed = play(EXAMPLES / "conflict.py", tmp_path, "--model", "openai:gpt-4o-mini", env=env)
    assert len(server.seen) == 4, "both sides; the lead twice, who does not answer in JSON"
    assert "So says a model." in printed.out and "Decided by: " in printed.out


# What stands between these entries is left out: the lead's own design, the code runs, the tests, the second request for a
# review, the performance check and the final review.
FEATURE = """\
[Orchestrator] Received task: Build user authentication API

[Orchestrator] → [Researcher]:
  Task: Research best practices for JWT authentication
  Context: Python, FastAPI, 2024 standards

[Researcher] → [Orchestrator]:
  Output:
  - JWT best practices summary
  - Security considerations
  - Recommended libraries: python-jose, passlib
  - Sample implementation pattern

[Orchestrator] → [Developer]:
  Task: Implement JWT authentication API
  Context: ASGI for FastAPI, standard library only, include refresh tokens
  Input: Researcher's findings

[Developer] → [Orchestrator]:
  Output:
  - auth_api.py (264 lines)
  - test_auth.py (33 lines)
  - Requirements: none beyond the standard library

[Orchestrator] → [Reviewer]:
  Task: Security review of authentication API
  Context: Check for vulnerabilities
  Input: Developer's code

[Reviewer] → [Orchestrator]:
  Output:
  - Security score: 85/100
  - Issues found:
    * Missing rate limiting (HIGH)
    * Token expiry too long (MEDIUM)
    * No refresh token rotation (MEDIUM)
  - Recommendations included

[Orchestrator] → [Developer]:
  Task: Fix security issues
  Context: Address reviewer's findings

[Developer] → [Orchestrator]:
  Output:
  - Updated auth_api.py
  - Updated test_auth.py
  - Added rate limiting
  - Fixed token expiry
  - Refresh tokens rotate: each is good for one use

[Reviewer] → [Orchestrator]:
  Output:
  - Security score: 98/100
  - All issues resolved
  - Approved for merge

[Orchestrator] → Final Output:
  - Aggregated results
  - Final report
  - Ready for deployment
"""


@pytest.mark.spec("W1")
def test_a_feature_is_built_and_the_trace_shows_how(tmp_path: Path) -> None:
    need("bubblewrap")
    printed = play(EXAMPLES / "build_a_feature.py", tmp_path, "--isolation", "bubblewrap").out
    *blocks, end = printed.rstrip("\n").split("\n\n")
    left = iter(blocks)
    for entry in FEATURE.rstrip("\n").split("\n\n"):
        assert entry in left, f"in its order there is no\n{entry}\nin\n{printed}"
    runs = [block.splitlines()[1:] for block in blocks if block.startswith("[Orchestrator] Code run")]
    assert [lines[0].partition(" passed")[0] for lines in runs] == [
        "  - Tests (measured): 4",
        "  - Tests (measured): 14",
        "  - Tests (measured): 19",
    ]
    assert end.splitlines() == [
        "Tests: 19 of 19 passed (measured)",
        "Coverage: 98.2 %",
        "Reviews: 85/100, 98/100, 98/100",
        "Cost: $0.11 for 11 calls",
        "Ready for deployment",
    ]
    again = play(EXAMPLES / "build_a_feature.py", tmp_path, "--isolation", "bubblewrap").out
    assert again == printed, "the same run id gives the recorded result"


def test_without_a_sandbox_no_feature_is_built_unless_a_process_is_asked_for(tmp_path: Path) -> None:
    nothing = {"PATH": "/nonexistent"}
    with pytest.raises(AssertionError, match=r"bwrap is not installed[\s\S]*--isolation process"):
        play(EXAMPLES / "build_a_feature.py", tmp_path, env=nothing)
    printed = play(EXAMPLES / "build_a_feature.py", tmp_path, "--isolation", "process", env=nothing)
    assert printed.out.endswith("Ready for deployment\n")


def test_a_model_that_has_no_plan_builds_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="Not ready: there is no plan"):
        play(EXAMPLES / "build_a_feature.py", tmp_path, "--model", "echo", "--isolation", "process")


def test_the_first_version_has_what_the_review_finds_and_its_tests_pass(tmp_path: Path) -> None:
    """The developer's code is no prop: what is found is there, what is mended is gone, and each is held by its tests."""
    team = EXAMPLES / "auth_team"
    for code, tests, number in (("first", "first", 4), ("first", "tested", 14), ("fixed", "fixed", 19)):
        folder = tmp_path / f"{code}-{tests}"
        folder.mkdir()
        (folder / "auth_api.py").write_text((team / code / "auth_api.py").read_text())
        (folder / "test_auth.py").write_text((team / tests / "test_auth.py").read_text())
        assert f"Ran {number} tests" in _tested(folder) and "OK" in _tested(folder)
    mixed = tmp_path / "first-tested"
    (mixed / "test_auth.py").write_text((team / "fixed" / "test_auth.py").read_text().replace("TooManyError, ", ""))
    said = _tested(mixed)
    for test in ("good_for_fifteen_minutes", "good_for_one_use", "cannot_be_guessed", "says_when_to_try_again"):
        assert test in said
    assert "FAILED (failures=3, errors=2)" in said, said


def _tested(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "unittest"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    return done.stderr
