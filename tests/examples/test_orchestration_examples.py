"""The examples of patterns print what they say, with scripted models and with one of the reader's."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.examples.programs import HANG_SECONDS, ROOT, play
from tests.llm_server import LlmServer, say

EXAMPLES = ROOT / "examples" / "orchestration"
PRINTED = {
    "parallel": """\
Researcher: Models get smaller.
Writer: The year of the <small> model.
Editor: Too many adjectives.
All answered: True
<results><agent name="Researcher">Models get smaller.</agent><agent name="Writer">The year of the &lt;small&gt; model.\
</agent><agent name="Editor">Too many adjectives.</agent></results>
1. [Researcher]: Models get smaller.

2. [Writer]: The year of the <small> model.

3. [Editor]: Too many adjectives.
[Editor]: Too many adjectives.
""",
    "pipeline": """\
Researcher: Researcher(Write about AI in healthcare) (in #ms)
Writer: Writer(Researcher(Write about AI in healthcare)) (in #ms)
Editor: Editor(Writer(Researcher(Write about AI in healthcare))) (in #ms)
Edit and improve:
Writer(Write an article based on:
Researcher(Write about AI in healthcare))
urgent: ['Triage', 'Writer']
default: ['Triage', 'Researcher', 'Writer']
""",
    "debate": """\
Two of three would use it with a person at the end; the Pessimist would not.
False
## Round 0

**Optimist**: It is fast and never tired.

**Pessimist**: It learned from biased decisions.

**Pragmatist**: Which step of hiring?

## Round 1

**Optimist**: A person may look at the last step.

**Pessimist**: A person would wave it through.

**Pragmatist**: The person must decide.

## Round 2

**Optimist**: So be it.

**Pessimist**: Nobody has shown me otherwise.

**Pragmatist**: Agreed.

## Conclusion

Two of three would use it with a person at the end; the Pessimist would not.
Round 1: Optimist, Pragmatist: Yes, with a person at the end.
Pessimist dissents: No. (A person would wave it through.)
""",
    "combining": """\
I have read the research: True. They have all read it.
A synthesis of:
Analysis:
1. [Technical]: It can be measured.

2. [Market]: It can be sold.

Synthesize:
Total cost: $0.04, of which $0.03 in the second step
['Researcher', 'Analysts', 'Summary']
""",
    "errors_and_costs": """\
All succeeded: False
Checker failed: no connection
Editor failed: Timeout
[True, False] no connection
[True, False, False] done
['done', '[Error: no connection]', '[Timeout]']
error | round 0 had 1 answer, a debate needs 2 (Checker: no connection; Editor: Timeout)
False | 1 of 3 workers succeeded, min_successful_workers is 2 (Checker: no connection; Editor: Timeout)
Total cost: $0.0105
Duration: True
Exactly: 10500000000 pico-USD for # calls
budget: 'done' ($0.0105)
""",
    "concurrency": """\
agent 'Researcher' is listed twice (0, 1): fork() it, or allow_duplicate_instances=True
[('city', 'London'), ('name', 'Phil')]
['r1 begins', 'r1 ends', 'r1 begins', 'r1 ends']
abc
[0, 1, 2]
""",
}


@pytest.mark.spec("O1")
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_says(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        out = play(EXAMPLES / f"{name}.py", tmp_path).out
        assert re.sub(r"\d+(?=ms\)| calls)", "#", out) == PRINTED[name]


@pytest.mark.parametrize("name", [name for name in PRINTED if name != "errors_and_costs"])
def test_an_example_takes_another_model(name: str, tmp_path: Path) -> None:
    assert play(EXAMPLES / f"{name}.py", tmp_path, "--model", "echo").out != PRINTED[name]


@pytest.mark.parametrize("name", ["parallel", "debate"])
def test_an_example_takes_the_model_of_a_provider(name: str, tmp_path: Path) -> None:
    pytest.importorskip("pydantic_ai")
    with LlmServer(say("So says a model.")) as server:
        env = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": server.base_url}
        printed = play(EXAMPLES / f"{name}.py", tmp_path, "--model", "openai:gpt-4o-mini", env=env)
        assert "So says a model." in printed.out and len(server.seen) >= 9


def _start_durable(folder: Path) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith("SHOAL_")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / "durable.py")],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )


def test_a_debate_goes_on_after_its_death(tmp_path: Path) -> None:
    died = _start_durable(tmp_path)
    assert (died.returncode, died.stdout) == (-9, "First start: it will be killed in round 1.\n"), died.stderr
    ends = []
    for _ in range(2):
        done = _start_durable(tmp_path)
        assert done.returncode == 0, done.stderr
        ends.append(done.stdout)
    told = (
        "They will try it for a quarter.\n9 messages and a conclusion for $0.10\n"
        "Calls now: {}, in all lives: 10, paid for: 10\n"
    )
    assert ends == [told.format(6), told.format(0)]
    made = [json.loads(line)["key"] for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert Counter(Counter(made).values()) == {1: 10}, "nobody was asked the same again"
