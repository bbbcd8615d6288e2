"""The texts that ``shoal init`` writes: a first team of each pattern, and what a scripted one says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

__all__ = ["REPLIES", "TEAMS", "FirstTeam", "PatternName", "replies_text", "team_text"]

REPLIES = "replies.json"
MODEL = "openai:gpt-5-mini"


class PatternName(StrEnum):
    """How a team works."""

    ORCHESTRATOR = "orchestrator"
    SUPERVISOR = "supervisor"
    PIPELINE = "pipeline"
    PARALLEL = "parallel"
    DEBATE = "debate"
    TEAM = "team"


class FirstTeam(msgspec.Struct, frozen=True, kw_only=True):
    """A team: what it does in a line, what stands in ``[pattern]``, and its agents, each with its role and further lines."""

    about: str
    options: str
    agents: Mapping[str, tuple[str, str]]
    task: str = "What is a lease?"
    runs_code: bool = False

    @property
    def try_model(self) -> str:
        """The model that shows it at work without a key."""
        return f"scripted:{REPLIES}" if self.runs_code else "echo"


TEAMS: Mapping[PatternName, FirstTeam] = {
    PatternName.ORCHESTRATOR: FirstTeam(
        about="A lead plans, a researcher looks up, a developer writes code and its tests, which are run, a reviewer\n"
        "# judges; what is found goes back, and only what the reviewer closes is closed.",
        options="""\
max_rework = 2                      # how often work is sent back before its step fails
task_timeout = "10min"              # then the next instance of that agent takes over
# approve = ["plan", "final"]       # what a person decides

[brief]                             # what the team is told of every task
# requirements = ["Python 3.11, standard library only"]
# context = { language = "python" }
expected_output = { tests = "all passing", coverage = ">80%" }  # checked, before anyone reviews the work
""",
        agents={
            "Lead": ("You plan, design, decide and sum up. Code is run where there is no network.", "lead = true\n"),
            "Researcher": (
                "You find out what is known, and what others got wrong. You name your sources.",
                'tools = ["folder:."]                # also: mcp.NAME, FILE.py:NAME, fetch:HOST, python\n',
            ),
            "Developer": (
                "You write code and its tests (test_*.py): whole files, standard library only.",
                "# instances = 2                     # the second takes over when the first fails\n",
            ),
            "Reviewer": (
                "You judge the work of others: what is wrong with it or missing, how bad that is, and where.",
                "",
            ),
        },
        task="Write a function slug(title) for the addresses of pages",
        runs_code=True,
    ),
    PatternName.SUPERVISOR: FirstTeam(
        about="A planner says who does what, workers do it at the same time, an editor brings it together.",
        options="""\
planner = "Planner"                 # who plans, and who brings together what was found: agents of this file
synthesizer = "Editor"
worker_timeout = "5min"
""",
        agents={
            "Planner": ("You plan the work of a small team: who does what, so that nothing is done twice.", ""),
            "Editor": ("You bring together what a team has found into one clear answer.", ""),
            "Researcher": (
                "You find out what is known, and what others got wrong. You name your sources.",
                'tools = ["folder:."]                # also: mcp.NAME, FILE.py:NAME, fetch:HOST\n',
            ),
            "Developer": ("You know how things are built, and what they cost.", ""),
        },
    ),
    PatternName.PIPELINE: FirstTeam(
        about="One after the other: each agent gets what the one before it has said.",
        options='step_timeout = "5min"\n# stop_on_error = false             # the next one gets what it got\n',
        agents={
            "Writer": ("You write a first answer, short and plain.", ""),
            "Critic": ("You repeat the text that you get, and say below it what is wrong or missing.", ""),
            "Editor": ("You mend the text by what is said below it. You answer with the text alone.", ""),
        },
    ),
    PatternName.PARALLEL: FirstTeam(
        about="All agents get the task at the same time, each for itself.",
        options='timeout = "5min"                    # for each agent\n# max_concurrency = 2\n',
        agents={
            "Optimist": ("You say what speaks for it.", ""),
            "Pessimist": ("You say what speaks against it.", ""),
            "Accountant": ("You say what it costs, in money and in time.", ""),
        },
    ),
    PatternName.DEBATE: FirstTeam(
        about="Agents answer, read each other, and answer again; a moderator concludes.",
        options='rounds = 2\nmoderator = "Moderator"             # an agent of this file, who does not debate\n',
        agents={
            "Strict": ("You argue from rules and from what has gone wrong before.", ""),
            "Bold": ("You argue from what could be won.", ""),
            "Moderator": ("You conclude: what was agreed on, what was not, and why.", ""),
        },
    ),
    PatternName.TEAM: FirstTeam(
        about="Agents hand over to each other; whoever hands over to nobody gives the answer.",
        options='entry = "Desk"                      # who begins\nmax_turns = 10\n',
        agents={
            "Desk": ("You answer what is easy, and hand over what is not to whoever knows.", ""),
            "Lawyer": ("You answer questions of law, and say what is uncertain.", ""),
            "Engineer": ("You answer questions of technology.", ""),
        },
    ),
}

_HEAD = """\
# A team of agents. {about}
#   shoal run team.toml {task}
#   without a key: add --model {model}

[team]
name = {name}
pattern = {pattern}
# store = "sqlite:///./shoal.db"    # where runs are kept, so that they go on after a crash
# report = "report.md"              # .md or .json; default report-RUN_ID.md

[pattern]                           # how it works; times are seconds or 45s, 30min, 2h
{options}
[budget]                            # of a run; it stops there, and the same --run-id goes on with a larger one
max_cost = 1.00                     # USD
max_calls = 40

# Each agent: a language model with a role. Keys come from the provider's own environment variable (OPENAI_API_KEY,
# ANTHROPIC_API_KEY ...), or from the one named by api_key_env; never write a key in here. A server of your own is
# written: model = "its-name", base_url = "http://localhost:8000/v1", price = [0, 0]. To keep an agent in a process or
# behind walls: isolation = "process", bubblewrap, gvisor, microvm, auto.
"""
_RUNNER = """
[runner]                            # where code that is handed in is run; without this table, what agents claim counts
isolation = "{level}"{pad}# bubblewrap, gvisor, microvm, or auto: the strongest that works (shoal boxes probe)
"""
_NO_RUNNER = """
# [runner]                          # where code that is handed in is run. It is not: no sandbox works on this machine, so
# isolation = "auto"                # what agents claim counts. `shoal boxes probe` says what is missing.
"""
_SERVERS = """
# [mcp.search]                      # tools of a server: tools = ["mcp.search"]
# command = ["search-server", "--stdio"]
"""


def team_text(pattern: PatternName, name: str, level: str | None = None) -> str:
    """Return the team file of *pattern*. level: where code is run, None: nowhere here; of no matter where no code is run."""
    team = TEAMS[pattern]
    quoted = {"name": json.dumps(name, ensure_ascii=False), "pattern": json.dumps(str(pattern))}
    known = f"{', '.join(TEAMS)}: shoal init --pattern NAME"
    quoted["pattern"] += " " * (24 - len(quoted["pattern"])) + f"  # {known}"
    text = _HEAD.replace("{about}", team.about).replace("{task}", json.dumps(team.task))
    text = text.replace("{model}", team.try_model).replace("{options}", team.options)
    for key, value in quoted.items():
        text = text.replace(f"{{{key}}}", value)
    for agent, (role, more) in team.agents.items():
        text += f'\n[agents.{agent}]\nrole = "{role}"\nmodel = "{MODEL}"\n{more}'
    if team.runs_code:
        text += _RUNNER.replace("{level}", level).replace("{pad}", " " * (22 - len(level))) if level else _NO_RUNNER
    return text + _SERVERS


_SLUG = '''\
FILE: slug.py
```python
"""Addresses of pages."""
{imports}

def slug(title: str) -> str:
    """Return the address of the page with this title."""
    return {body}
```
FILE: test_slug.py
```python
import unittest

from slug import slug


class Slugs(unittest.TestCase):
    def test_words(self) -> None:
        self.assertEqual(slug("Two Words"), "two-words")

    def test_runs_of_spaces(self) -> None:
        self.assertEqual(slug("  Two   Words "), "two-words")
{more}```
'''
_MORE = """
    def test_punctuation(self) -> None:
        self.assertEqual(slug("Bees, & how they see!"), "bees-how-they-see")
"""


def replies_text() -> str:
    """Return what each agent of the first orchestrator says when it is asked to write slug(title), as JSON."""
    first = _SLUG.format(imports="", body='"-".join(title.lower().split())', more="")
    fixed = _SLUG.format(imports="\nimport re\n", body='"-".join(re.findall(r"[a-z0-9]+", title.lower()))', more=_MORE)
    plan = (
        "1. Analyze what addresses may hold → Need Researcher",
        "2. Implement slug(title) with its tests → Need Developer",
        "3. Code review → Need Reviewer",
    )
    replies = {
        "Lead": [
            "\n".join(plan),
            "slug(title) is there, with tests. The review found that punctuation stayed in the address; now it does not.",
        ],
        "Researcher": [
            "- An address keeps letters, digits and hyphens\n- What stands between words becomes one hyphen"
        ],
        "Developer": [
            first + _claim("slug(title)", tests="2 passed", coverage=100),
            fixed + _claim("Punctuation is left out", tests="3 passed", coverage=100, resolved=["R1"]),
        ],
        "Reviewer": [
            "Code score: 82/100\n* Punctuation stays in the address (MEDIUM)",
            "Code score: 97/100\nResolved: R1\nApproved for merge",
        ],
    }
    return json.dumps(replies, indent=2, ensure_ascii=False) + "\n"


def _claim(summary: str, **more: Any) -> str:
    """Return what a developer says of his work, in the form that hand-ins have. Where code is run, none of it counts."""
    return json.dumps({"summary": summary, "outputs": [summary], **more})
