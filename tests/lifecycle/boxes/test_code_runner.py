"""Code of others runs in a fresh box, and what its tests do is measured there."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime
from shoal.boxes import probing
from shoal.errors import BoxSpecError, ConfigError, IsolationUnavailableError, RuntimeClosedError
from shoal.orchestration.workflow.checking import check_output
from shoal.orchestration.workflow.delivery import CodeRun, Delivery
from shoal.orchestration.workflow.delivery import TestResult as Tests
from shoal.orchestration.workflow.expected import ExpectedOutput
from tests.lifecycle.boxes.coding import CALC, DEFECT, FOURTEEN, result, runner_at
from tests.support.levels import chosen, need

SRC = Path(__file__).parents[3] / "src"
LEVELS = chosen("process", "bubblewrap", "gvisor", long=("microvm",))


def run_at(level: str, files: dict[str, str], command: list[str] | None = None, timeout: float = 60.0) -> CodeRun:
    need(level)

    async def main() -> CodeRun:
        async with runner_at(level) as runner:
            return await runner.run(files, command, timeout)

    return asyncio.run(main())


@pytest.mark.spec("W12")
@pytest.mark.parametrize("level", LEVELS)
def test_fourteen_tests_are_run_and_measured(level: str) -> None:
    run = run_at(level, FOURTEEN)
    assert run.tests == result(passed=14) and run.tests.source == "measured"
    assert (run.exit_code, run.coverage, run.timed_out, run.fault) == (0, 75.0, False, "")
    assert "14 passed" in run.stdout and run.duration_ms > 0


@pytest.mark.spec("W12")
def test_a_false_claim_is_overruled_by_what_was_measured() -> None:
    claimed = Delivery(files=dict(DEFECT), tests=Tests(passed=14, source="claimed"), coverage=100.0)
    expected = ExpectedOutput(files=("calc.py", "test_calc.py"), tests="all passing", coverage=">80%")
    assert check_output(expected, claimed) == ()
    measured = claimed.measured(run_at("bubblewrap", claimed.files))
    assert measured.tests == result(passed=12, failed=2, failures=("test_wrong_1", "test_wrong_2"))
    reasons = check_output(expected, measured)
    assert reasons == ("tests: 2 of 14 failed: test_wrong_1, test_wrong_2", "coverage 75 %, expected >80%")


SEVEN_OF_TEN = {
    "ten.py": '''"""Docstrings are no statements."""


def sign(
    number,
):
    """Nor is this."""
    if number > 0:
        return 1
    if number < 0:
        return (
            -1
        )
    text = "zero"  # pragma: no cover
    return 0


def never():
    first = [
        1,
    ]
    return first


''',
    "test_ten.py": "from ten import sign\n\n\ndef test_sign():\n    assert sign(0) == 0\n    assert sign(-1) == -1\n",
}


@pytest.mark.spec("W12")
@pytest.mark.parametrize("level", chosen("bubblewrap", "gvisor"))
def test_seven_of_ten_lines_are_seventy_percent(level: str) -> None:
    assert run_at(level, SEVEN_OF_TEN).coverage == 70.0


THREADED = """import threading


def work():
    done = []

    def job():
        done.append(1)

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    return done
"""
USES_BOTH = """import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))
from lib import threaded, used


def test_all(one):
    assert used.f() == one
    assert threaded.work() == [1]
"""


def test_what_counts_for_coverage() -> None:
    files = {
        "src/lib/__init__.py": "",
        "src/lib/used.py": "def f():\n    return 1\n",
        "src/lib/threaded.py": THREADED,
        "unused.py": "A = 1\nB = 2\n",
        "conftest.py": "import pytest\n\n\n@pytest.fixture\ndef one():\n    return 1\n",
        "tests/helper.py": "def unused():\n    return 1\n",
        "tests/test_lib.py": USES_BOTH,
        "notes.txt": "no code\n",
    }
    run = run_at("bubblewrap", files)
    assert run.tests == result(passed=1), run.stdout
    assert run.coverage == 100 * (2 + 9) / (2 + 9 + 2)


@pytest.mark.parametrize("level", chosen("process", "bubblewrap"))
def test_every_way_in_which_tests_end(level: str) -> None:
    test = """
import pytest

def test_passes(): pass
def test_fails(): assert 1 == 2
def test_raises(): 1 / 0
@pytest.mark.skip
def test_skipped(): pass
@pytest.mark.xfail
def test_known(): assert False
@pytest.fixture
def broken(): raise OSError("no")
def test_without_its_fixture(broken): pass
@pytest.mark.parametrize("number", [1, 2])
def test_numbers(number): assert number == 1
class TestGroup:
    def test_inside(self): assert False
"""
    run = run_at(level, {"test_ends.py": test, "pkg/sub_test.py": "import nothing_of_that_name\n"})
    assert run.exit_code == 2 and run.tests == result(errors=1, failures=("pkg/sub_test.py",)), "pytest stops there"
    run = run_at(level, {"test_ends.py": test})
    failures = ("test_fails", "test_raises", "test_without_its_fixture", "test_numbers[2]", "TestGroup::test_inside")
    assert run.tests == result(passed=2, failed=4, errors=1, skipped=2, failures=failures)
    assert run.exit_code == 1 and run.coverage is None


@pytest.mark.parametrize("files", [{}, {"calc.py": CALC}, {"calc.py": CALC, "test_none.py": "import calc\n"}])
def test_no_tests_are_none_that_passed(files: dict[str, str]) -> None:
    run = run_at("bubblewrap", files)
    assert run.tests == Tests() and run.tests is not None and not run.tests.all_passing
    assert run.exit_code == 5 and run.coverage == (None if not files else 50.0 if "test_none.py" in files else 0.0)


def test_a_command_runs_beside_the_files() -> None:
    run = run_at(
        "bubblewrap", {"src/app.py": "import sys\nprint(sys.argv[1:])\nsys.exit(7)\n"}, ["python", "src/app.py", "a b"]
    )
    assert (run.exit_code, run.stdout, run.tests, run.coverage) == (7, "['a b']\n", None, None)
    missing = run_at("bubblewrap", {}, ["nothing-of-that-name"])
    assert missing.exit_code == 127 and "nothing-of-that-name: No such file" in missing.stderr


def test_the_same_packages_as_here_are_in_the_box() -> None:
    run = run_at("bubblewrap", {}, ["python", "-c", "import pytest; print(pytest.__version__)"])
    assert run.stdout.strip() == pytest.__version__


def test_bad_orders_are_refused_before_anything_is_run() -> None:
    need("bubblewrap")

    async def main() -> None:
        async with runner_at("bubblewrap") as runner:
            orders: list[dict[str, Any]] = [
                {"files": {"../up.py": ""}},
                {"files": {"/etc/passwd": ""}},
                {"files": {}, "command": "python app.py"},
                {"files": {}, "command": []},
                {"files": {}, "timeout": 0},
            ]
            for order in orders:
                with pytest.raises(ValueError):
                    await runner.run(**order)

    asyncio.run(main())


def test_a_runner_belongs_to_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    need("bubblewrap")

    async def main() -> None:
        async with AgentRuntime(store="sqlite://:memory:") as runtime:
            runner = runtime.code_runner("bubblewrap")
            with pytest.raises(ValueError):
                runtime.code_runner("inline")
            with pytest.raises(BoxSpecError):
                runtime.code_runner(memory_mib=-1)
            monkeypatch.setenv("SHOAL_ISOLATION", "process")
            with pytest.raises(ConfigError, match="SHOAL_ISOLATION"):
                runtime.code_runner()
            assert (await runner.run(FOURTEEN)).exit_code == 0
            endless = asyncio.create_task(runner.run({}, ["sleep", "100"]))
            boxes = runner._boxes._boxes  # type: ignore[attr-defined]
            while not any(box.state == "running" for box in boxes.boxes.values()):
                await asyncio.sleep(0.01)
        with pytest.raises(RuntimeClosedError):  # that says nothing about the code
            await endless
        with pytest.raises(RuntimeClosedError):
            await runner.run(FOURTEEN)

    asyncio.run(main())


def test_a_level_that_does_not_work_here_is_told_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(probing, "_known", {})

    async def main() -> None:
        async with runner_at("gvisor") as runner:
            with pytest.raises(IsolationUnavailableError, match="gvisor"):
                await runner.check()  # type: ignore[attr-defined]

    asyncio.run(main())


UNIT = """
import unittest
from calc import add

class TestCalc(unittest.TestCase):
    def test_adds(self): self.assertEqual(add(1, 2), 3)
    def test_wrong(self): self.assertEqual(add(1, 2), 4)
    def test_raises(self): 1 / 0
    @unittest.skip("later")
    def test_later(self): pass
    @unittest.expectedFailure
    def test_known(self): self.fail()
"""


def test_without_pytest_unittest_runs_them(tmp_path: Path) -> None:
    job = {
        "files": {"calc.py": CALC, "test_calc.py": UNIT, "odd-name_test.py": "import sys\nsys.exit(0)\n"},
        "command": None,
        "tests": ["test_calc.py", "odd-name_test.py"],
        "sources": ["calc.py"],
        "timeout": 30.0,
    }
    code = (
        "import json, sys; sys.path.append(sys.argv[1])\n"
        "from shoal.orchestration.workflow.codeguest.watcher import watch\n"
        "print(json.dumps(watch(json.load(sys.stdin))))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(SRC)]  # without site there is no pytest
    done = subprocess.run(
        command, input=json.dumps(job), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    found = json.loads(done.stdout)
    failures = ["odd-name_test.py", "test_raises", "test_wrong"]
    assert found["tests"] == {"passed": 1, "failed": 2, "errors": 1, "skipped": 2, "failures": failures}
    assert (found["exit_code"], found["coverage"]) == (1, 75.0)


def test_a_run_that_is_cancelled_leaves_no_box() -> None:
    need("bubblewrap")

    async def main() -> None:
        async with runner_at("bubblewrap") as runner:
            running = asyncio.create_task(runner.run({}, ["sleep", "100"]))
            boxes = runner._boxes._boxes  # type: ignore[attr-defined]
            while not any(box.state == "running" for box in boxes.boxes.values()):
                await asyncio.sleep(0.01)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert not boxes.boxes

    asyncio.run(main())
