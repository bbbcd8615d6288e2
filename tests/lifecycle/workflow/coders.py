"""Teams whose code is really run, in boxes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shoal.orchestration import Brief, OrchestratorConfig
from shoal.orchestration.workflow.delivery import CodeRun, CodeRunner
from tests.lifecycle.workflow.teams import Made, Replies, Setting, made, planned, tool
from tests.support.workteam import files_reply

SIGN = """\
def sign(number):
    if number > 0:
        return 1
    if number == 0:
        return 0
    return -1


def never(number):
    number = number + 1
    number = number * 2
    return number
"""
"""Ten lines that can be executed, of which tests of ``sign`` execute seven."""
WRONG = SIGN.replace("return -1", "return 1")
CASES = [(number, (number > 0) - (number < 0)) for number in range(-5, 9)]
TESTS = "import unittest\n\nfrom sign import sign\n\n\nclass TestSign(unittest.TestCase):" + "".join(
    f"\n    def test_{place}(self):\n        assert sign({number}) == {expected}\n"
    for place, (number, expected) in enumerate(CASES)
)
"""Fourteen tests, of which five fail on WRONG; also where there is no pytest."""
APPROVAL = json.dumps({"score": 95, "approved": True})


class Watched:
    """A runner whose real runs are counted in a file across kills, each ended after *seconds*."""

    def __init__(self, runner: CodeRunner, log: Path, seconds: float) -> None:
        self._runner = runner
        self._log = log
        self._seconds = seconds

    async def check(self) -> None:
        await self._runner.check()  # type: ignore[attr-defined]

    async def run(
        self, files: Mapping[str, str], command: Sequence[str] | None = None, timeout: float = 300.0
    ) -> CodeRun:
        file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{','.join(sorted(files))}\n".encode())
        os.close(file)
        return await self._runner.run(files, command, min(timeout, self._seconds))


def runner_of(setting: Setting, seconds: float = 60.0, level: str = "bubblewrap", **limits: Any) -> CodeRunner:
    return Watched(setting.runtime.code_runner(level, **limits), code_log(setting.log), seconds)


def code_log(log: Path) -> Path:
    return log.with_name("code.log")


PLAN: list[dict[str, Any]] = [
    {
        "title": "Write sign",
        "owner": "Developer",
        "expected_output": {"files": ["sign.py", "test_sign.py"], "tests": "all passing", "coverage": ">=70%"},
    },
    {"title": "Code review", "owner": "Reviewer", "depends_on": [1]},
]
ROLES = {"Developer": "Developer", "Reviewer": "Reviewer"}
TASK = Brief("Write sign")


def measured(setting: Setting, level: str = "bubblewrap") -> Made:
    """The first hand-in claims what is not so."""
    claim: dict[str, Any] = {"tests": "all passing", "coverage": "100%"}
    replies: Replies = {
        "Lead": planned(PLAN),
        "Developer": [
            files_reply({"sign.py": WRONG, "test_sign.py": TESTS}, **claim),
            files_reply({"sign.py": SIGN, "test_sign.py": TESTS}, **claim),
        ],
        "Reviewer": [APPROVAL],
    }
    return made(setting, replies, ROLES, TASK, runner=runner_of(setting, level=level))


def workspace(setting: Setting) -> Made:
    """The developer writes, runs, fixes and runs; is sent back by the checks, and once more by the reviewer."""
    work = [
        tool("write_file", 1, path="sign.py", content=WRONG),
        tool("write_file", 2, path="test_sign.py", content=TESTS),
        tool("run_tests", 3),
        "- handed in too early",
        (tool("read_file", 4, path="sign.py"), tool("list_files", 5)),
        tool("write_file", 6, path="sign.py", content=SIGN),
        tool("run_tests", 7),
        "- now they pass",
    ]
    fix = [
        (tool("write_file", 8, path="sign.py", content=f"# Signs.\n{SIGN}"), tool("run_tests", 9)),
        json.dumps({"summary": "a comment"}),
    ]
    replies: Replies = {
        "Lead": planned(PLAN),
        "Developer": [*work, *fix],
        "Reviewer": [
            json.dumps({"score": 80, "issues": [{"severity": "LOW", "title": "No comment", "file": "sign.py"}]}),
            json.dumps({"score": 95, "approved": True, "resolved": ["R1"]}),
        ],
    }
    return made(setting, replies, ROLES, TASK, runner=runner_of(setting))


def too_many(setting: Setting) -> Made:
    """Two steps that hand in more files than can be run together."""
    expected = {"tests": "all passing"}
    plan = [
        {"title": "Data", "owner": "Developer"},
        {"title": "Write sign", "owner": "Developer", "depends_on": [1], "expected_output": expected},
    ]
    test = "def test_it():\n    assert True\n"
    replies: Replies = {
        "Lead": planned(plan),
        "Developer": [
            files_reply({f"data{number}.txt": "x\n" for number in range(199)}),
            files_reply({"test_a.py": test, "test_b.py": test}),
            files_reply({"test_a.py": test}),
        ],
    }
    return made(setting, replies, {"Developer": "Developer"}, TASK, runner=runner_of(setting))


def _attack(name: str) -> Callable[[Setting], Made]:
    def team(setting: Setting) -> Made:
        code = ATTACKS[name].replace("OUTSIDE", str(setting.log.parent))
        plan = [{**PLAN[0], "expected_output": {"tests": "all passing"}}]
        replies: Replies = {
            "Lead": planned(plan),
            "Developer": [
                files_reply({"test_it.py": code}, tests="all passing"),
                files_reply({"test_it.py": "def test_it():\n    assert True\n"}),
            ],
        }
        runner = runner_of(setting, seconds=2.0, memory_mib=128)
        return made(setting, replies, {"Developer": "Developer"}, TASK, runner=runner, config=OrchestratorConfig())

    return team


ATTACKS = {
    "loops": "def test_it():\n    while True:\n        pass\n",
    "forks": "import os, time\n\ndef test_it():\n    while True:\n        os.fork()\n",
    "eats": "def test_it():\n    held = []\n    while True:\n        held.append(bytearray(1 << 20))\n",
    "prints": "def test_it():\n    import os\n    while True:\n        os.write(1, b'x' * 65536)\n",
    "reads": "def test_it():\n    assert not open('OUTSIDE/secret.txt').read()\n",
    "writes": "def test_it():\n    open('OUTSIDE/written.txt', 'w').write('x')\n    assert False\n",
    "connects": (
        "import socket, pathlib\n\ndef test_it():\n"
        "    socket.create_connection(('127.0.0.1', PORT), 1).send(b'hello')\n    assert False\n"
    ),
    "leaves": "import os\n\ndef test_it():\n    os._exit(0)\n",
}

CODERS: dict[str, Callable[[Setting], Made]] = {
    "measured": measured,
    "workspace": workspace,
    **{f"attack-{name}": _attack(name) for name in ATTACKS},
}
