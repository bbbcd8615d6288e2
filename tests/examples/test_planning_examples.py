"""The examples of planned and ready-made teams print what they say, with scripted models and with one of the reader's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.programs import ROOT, play

EXAMPLES = ROOT / "examples" / "orchestration"
PRINTED = {
    "supervisor": """\
# Quantum computing
Some computers do not count in ones and zeros. Three ideas make them work.
1: Researcher <- Collect the main ideas.
1: Writer <- Draft an opening.
2: Editor <- Put ideas and opening together.
Researcher: Superposition, entanglement, interference.
Writer: Some computers do not count in ones and zeros.
Editor: Opening first, then one paragraph for each idea.
[1] Researcher: facts come first
[1] Writer: the opening needs no facts
[2] Editor: the parts are there
Total cost: $0.0060 for 6 calls
""",
    "configuration": """\
Defaults: True
Mostly sun. (3 of 4: True)
[1] there is no JSON array of objects with worker and task in it: the whole task went to all workers
Total cost: $0.0060
False | not all workers succeeded (West: the line is dead)
['**North**:', 'sun in the north']
West failed: the line is dead
budget | 2 answers
""",
    "prebuilt_teams": """\
Team: Researcher, Analyst, Writer, Critic
Move long-lived secrets to post-quantum ciphers first. ['Researcher', 'Analyst']
That is where they stand. Consensus: False
['Expert_1', 'Expert_2', 'Expert_3'] Consensus: True
""",
}


@pytest.mark.spec("O1")
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_says(name: str, tmp_path: Path) -> None:
    assert play(EXAMPLES / f"{name}.py", tmp_path).out == PRINTED[name]


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_takes_another_model(name: str, tmp_path: Path) -> None:
    assert play(EXAMPLES / f"{name}.py", tmp_path, "--model", "echo").out != PRINTED[name]
