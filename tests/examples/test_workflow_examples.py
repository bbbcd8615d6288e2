"""The examples of the workflow print what they say, with scripted models and with one of the reader's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.programs import ROOT, play
from tests.llm_server import LlmServer, say

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
}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_says(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        assert play(EXAMPLES / f"{name}.py", tmp_path).out == PRINTED[name]


@pytest.mark.spec("W7")
def test_ten_runs_of_the_hashing_dispute_print_the_same(tmp_path: Path) -> None:
    printed = {play(EXAMPLES / "conflict.py", tmp_path).out for _ in range(10)}
    assert printed == {PRINTED["conflict"]}


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_takes_another_model(name: str, tmp_path: Path) -> None:
    assert play(EXAMPLES / f"{name}.py", tmp_path, "--model", "echo").out != PRINTED[name]


def test_the_conflict_takes_the_model_of_a_provider(tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    with LlmServer(say("So says a model.")) as server:
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url}
        printed = play(EXAMPLES / "conflict.py", tmp_path, "--model", "openai:gpt-4o-mini", env=env)
    assert len(server.seen) == 4, "both sides; the lead twice, who does not answer in JSON"
    assert "So says a model." in printed.out and "Decided by: " in printed.out
