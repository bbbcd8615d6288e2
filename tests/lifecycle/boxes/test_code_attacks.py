"""Hostile code in a runner's box: it is contained, the host stays as it was, and the caller gets the facts."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from shoal.orchestration.workflow.delivery import CodeRun
from tests.lifecycle.boxes.coding import FOURTEEN, runner_at
from tests.support.levels import chosen, need

LEVELS = chosen("bubblewrap", "gvisor", long=("microvm",))
MIB = 1 << 20


def run_all(level: str, *orders: tuple[dict[str, str], list[str] | None], timeout: float = 30.0) -> list[CodeRun]:
    """Run one after the other, and then a good one: nothing that they did has hurt the runner."""
    need(level)

    async def main() -> list[CodeRun]:
        async with runner_at(level, memory_mib=200) as runner:
            done = [await runner.run(files, command, timeout) for files, command in orders]
            last = await runner.run(FOURTEEN)
            assert last.tests is not None and last.tests.all_passing and not last.fault
            return done

    return asyncio.run(main())


def outcome_of(level: str, source: str, timeout: float = 30.0, more: dict[str, str] | None = None) -> CodeRun:
    files = {"test_hostile.py": source, **(more or {})}
    return run_all(level, (files, None), timeout=timeout)[0]


SAY_SUCCESS = r"""
import os, sys
FORGED = '{"outcome": "passed", "name": "test_a"}\n{"end": 0, "lines": {}}\n'
for text in ("14 passed in 0.10s\n", FORGED, '{"exit_code": 0}\n'):
    for fd in (1, 2):
        os.write(fd, text.encode())
"""
ENDINGS = {
    "prints success and leaves while it is imported": SAY_SUCCESS + "os._exit(0)\n",
    "leaves by sys.exit while it is imported": SAY_SUCCESS + "sys.exit(0)\n",
    "leaves in the middle of its tests": "import os\ndef test_a(): pass\ndef test_b(): os._exit(0)\n",
    "ends pytest": "import pytest\ndef test_a(): pass\ndef test_b(): pytest.exit('done', 0)\ndef test_c(): 1 / 0\n",
    "raises SystemExit in a test": "import sys\ndef test_a(): sys.exit(0)\n",
    "leaves its tests to a child": "import os\nif os.fork(): os._exit(0)\ndef test_a(): pass\n",
    "kills its parent": SAY_SUCCESS + "def test_a(): os.kill(os.getppid(), 9)\n",
    "asks its parent to end": SAY_SUCCESS
    + "import time\ndef test_a():\n    os.kill(os.getppid(), 15)\n    time.sleep(20)\n",
    "interrupts its parent": SAY_SUCCESS
    + "import time\ndef test_a():\n    os.kill(os.getppid(), 2)\n    time.sleep(20)\n",
    "kills itself": "import os\ndef test_a(): os.kill(os.getpid(), 9)\n",
    "writes the report to all that is open": r"""
import os
def test_a():
    for fd in range(3, 256):
        try:
            os.write(fd, b'{"outcome": "passed", "name": "test_a"}\n{"end": 0, "lines": {}}\n')
        except OSError:
            pass
    os._exit(0)
""",
    "closes all that is open": "import os\ndef test_a():\n    os.closerange(3, 256)\n",
    "breaks the process down at its end": "import atexit, os\natexit.register(os._exit, 0)\ndef test_a(): assert False\n",
}


@pytest.mark.spec("W12")
@pytest.mark.parametrize("how", ENDINGS)
def test_no_ending_makes_a_success(how: str) -> None:
    run = outcome_of("bubblewrap", ENDINGS[how])
    assert run.tests is not None and not run.tests.all_passing, run
    assert run.tests.failed + run.tests.errors >= 1 and run.tests.failures


@pytest.mark.parametrize("level", chosen("gvisor", long=("microvm",)))
def test_nor_does_it_behind_other_walls(level: str) -> None:
    orders: list[tuple[dict[str, str], list[str] | None]] = [
        ({"test_hostile.py": ENDINGS[how]}, None)
        for how in ("leaves in the middle of its tests", "kills its parent", "writes the report to all that is open")
    ]
    for run in run_all(level, *orders):
        assert run.tests is not None and not run.tests.all_passing, run


REACH = r"""
import os
FORGED = b'{"type":"exit","code":0,"result":{"exit_code":0},"outputs":{}}'
def test_a():
    reached = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/mem", "rb", buffering=0):
                reached.append(f"memory of {pid}")
        except OSError:
            pass
        try:
            names = [name for name in os.listdir(f"/proc/{pid}/fd") if int(name) >= 100]
        except OSError:
            continue
        for name in names:
            try:
                os.write(os.open(f"/proc/{pid}/fd/{name}", os.O_WRONLY | os.O_NONBLOCK), FORGED)
                reached.append(f"channel of {pid}")
            except OSError:
                pass
    import ctypes
    if ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0:
        reached.append("ptrace")
    assert reached == []
"""


@pytest.mark.parametrize("level", LEVELS)
def test_what_watches_cannot_be_reached(level: str) -> None:
    run = outcome_of(level, REACH)
    assert run.tests is not None and run.tests.all_passing, run.stdout


def test_files_called_as_parts_of_the_harness_change_nothing() -> None:
    bad = "import os\nos._exit(0)\n"
    names = (
        "pytest",
        "json",
        "tester",
        "watcher",
        "heard",
        "lines",
        "sitecustomize",
        "usercustomize",
        "site",
        "shoal_guest",
    )
    run = outcome_of(
        "bubblewrap", "def test_a(): pass\n\ndef test_b(): assert False\n", more={f"{name}.py": bad for name in names}
    )
    assert run.tests is not None and (run.tests.passed, run.tests.failures) == (1, ("test_b",)), run
    late = "import pathlib\nfor n in ('tester.py', 'report.json'): pathlib.Path(n).write_text('{\"end\": 0}')\n"
    run = outcome_of("bubblewrap", f"{late}\ndef test_b(): assert False\n")
    assert run.tests is not None and run.tests.failures == ("test_b",)


def test_a_forked_test_counts_once() -> None:
    run = outcome_of("bubblewrap", "import os\ndef test_a(): os.fork()\ndef test_b(): pass\n")
    assert run.tests is not None and run.tests.passed == 2


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_does_not_end(level: str) -> None:
    run = outcome_of(level, "def test_a(): pass\n\ndef test_b():\n    while True: pass\n", timeout=4.0)
    assert run.timed_out and run.exit_code is None and not run.fault
    assert run.tests is not None and (run.tests.passed, run.tests.errors) == (1, 1)
    assert run.tests.failures == ("the tests did not end in time",)


@pytest.mark.spec("W13")
def test_what_hides_from_the_end_of_its_time() -> None:
    stays = "import os, time\nif not os.fork():\n    os.setsid()\ntime.sleep(1000)\n"
    (run,) = run_all("bubblewrap", ({"stays.py": stays}, ["python", "stays.py"]), timeout=1.0)
    assert run.timed_out and run.duration_ms < 5000
    left = "import subprocess\nprint('out', flush=True)\nsubprocess.Popen(['sleep', '1000'])\n"
    (run,) = run_all("bubblewrap", ({"leaves.py": left}, ["python", "leaves.py"]))
    assert (run.exit_code, run.stdout, run.timed_out) == (0, "out\n", False)


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_forks_without_end(level: str) -> None:
    bomb = "import os\ndef test_a():\n    while True:\n        try: os.fork()\n        except OSError: pass\n"
    run = outcome_of(level, bomb, timeout=4.0)
    assert run.timed_out or "limit" in run.fault
    assert run.tests is not None and not run.tests.all_passing


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_takes_all_memory(level: str) -> None:
    run = outcome_of(level, "def test_a():\n    taken = []\n    while True: taken.append(bytearray(10_000_000))\n")
    assert run.fault == "memory limit 200 MiB" and run.exit_code is None
    assert run.tests is not None and run.tests.errors == 1


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", chosen("bubblewrap"))
def test_code_that_prints_a_gibibyte_and_fills_its_disk(level: str) -> None:
    prints = "import os\nfor _ in range(1024):\n    os.write(1, b'o' * (1 << 20))\n    os.write(2, b'e' * (1 << 20))\n"
    fills = "with open('big', 'wb') as file:\n    for _ in range(1024): file.write(bytes(1 << 20))\n"
    flood, full = run_all(
        level, ({"prints.py": prints}, ["python", "prints.py"]), ({"fills.py": fills}, ["python", "fills.py"])
    )
    assert (flood.exit_code, flood.stdout, flood.stderr) == (0, "o" * MIB, "e" * MIB)
    assert full.exit_code == 1 and "No space left on device" in full.stderr


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_reads_and_writes_outside(level: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret of this machine")
    secret.chmod(0o666)
    source = f"""
import os, pathlib
def test_reads():
    for path in ({str(secret)!r}, "/etc/shadow", "/root/.bashrc", "../../../..{secret}"):
        assert not pathlib.Path(path).exists(), path
def test_writes():
    for place in ({str(tmp_path)!r}, "/usr", "/etc", "/", os.path.dirname(os.__file__), "/shoal", "/proc/sys/kernel"):
        try:
            pathlib.Path(place, "written").write_text("hostile")
        except OSError:
            continue
        assert False, place
def test_environment():
    assert not [name for name in os.environ if "SHOAL" in name or "KEY" in name]
"""
    os.environ["SOME_API_KEY"] = "sk-secret"
    try:
        run = outcome_of(level, source)
    finally:
        del os.environ["SOME_API_KEY"]
    assert run.tests is not None and (run.tests.passed, run.tests.failures) == (3, ()), run.stdout
    assert secret.read_text() == "the secret of this machine" and os.listdir(tmp_path) == ["secret.txt"]


@pytest.mark.spec("W13")
@pytest.mark.parametrize("level", LEVELS)
def test_code_that_opens_a_socket(level: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        source = f"""
import socket
def test_connects():
    try:
        socket.create_connection(("127.0.0.1", {listener.getsockname()[1]}), timeout=2)
    except OSError as error:
        print(error)
    else:
        assert False
"""
        run = outcome_of(level, source)
        assert run.tests is not None and run.tests.all_passing, run.stdout
        with pytest.raises(BlockingIOError):
            listener.accept()
