"""Loading the versions of an agent file: modules of their own, and the services that they define."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest

from shoal.errors import ConfigError, InfoError
from shoal.kernel.clock import RealClock
from shoal.loading import load
from shoal.services.watchfolder import Source
from shoal.services.watchversion import Version, in_thread, load_version, same_code
from tests.support.agentfiles import agent_file

CLOCK = RealClock()


def load_text(text: str | bytes, name: str = "a.py", folder: str = "/agents") -> Version:
    data = text.encode() if isinstance(text, str) else text
    source = Source(name, Path(folder) / name, data, hashlib.sha256(data).hexdigest())
    return load_version(source, CLOCK.new_id())


def modules() -> set[str]:
    return {name for name in sys.modules if name.startswith("shoal_agents_")}


def test_services_are_those_that_the_file_defines_itself() -> None:
    version = load_text(
        agent_file("first", 1, cls="First")
        + agent_file("second", 2, cls="Second")
        + """
import abc
from shoal.services import LoadBalancerAgent, MemoryAwareAgent

class Base(ServiceAgent):
    \"\"\"Others are made of it.\"\"\"

class Third(Base):
    def info(self):
        return {"name": "third", "capabilities": ["x"]}

class Fourth(Third):
    pass

class Half(ServiceAgent, abc.ABC):
    def info(self):
        return {"name": "half", "capabilities": ["x"]}
    @abc.abstractmethod
    def rest(self): ...

class _Private(First):
    pass

class Plain:
    pass

Alias = First
"""
    )
    try:
        assert {cls.__name__: info.name for cls, info in version.services.items()} == {
            "First": "first",
            "Second": "second",
            "Third": "third",
            "Fourth": "third",
        }
    finally:
        version.forget()


def test_a_version_is_a_module_of_its_own_and_clashes_with_nothing() -> None:
    before = set(sys.modules)
    one, two = load_text(agent_file("a", 1), "json.py"), load_text(agent_file("a", 2), "json.py")
    (first,), (second,) = one.services, two.services
    assert first is not second and first.__module__ != second.__module__
    assert sys.modules["json"].__file__ != "/agents/json.py"
    assert len(set(sys.modules) - before) == 2
    assert not same_code(first, second)
    again = load_text(agent_file("a", 1), "json.py")
    elsewhere = load_text(agent_file("a", 1), "json.py", "/others")
    (third,), (fourth,) = again.services, elsewhere.services
    assert same_code(first, third) and not same_code(first, fourth) and not same_code(Path, Path)
    for version in (one, two, again, elsewhere, one):
        version.forget()
    assert set(sys.modules) == before


def test_its_classes_travel_whole() -> None:
    version = load_text(agent_file("a", "far away"))
    (cls,) = version.services
    packed = cloudpickle.dumps(cls)
    version.forget()
    program = "import sys, cloudpickle; print(cloudpickle.load(sys.stdin.buffer)({}).info()['name'])"
    there = subprocess.run([sys.executable, "-c", program], input=packed, capture_output=True, check=True)
    assert there.stdout == b"a\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(:\n", "a.py cannot be loaded: SyntaxError: invalid syntax"),
        ("x = 1\nraise KeyError('lost')\n", r"a.py cannot be loaded: KeyError: 'lost' \(line 2\)"),
        ("import sys\nsys.exit(3)\n", r"a.py cannot be loaded: SystemExit: 3 \(line 2\)"),
        ("import not_installed_anywhere\n", "ModuleNotFoundError: No module named"),
        (b"name = '\xff'\n", "cannot be loaded: SyntaxError: .*utf-8"),
        (b"a = 1\0\n", "cannot be loaded: (SyntaxError|ValueError): source code"),
        ("(" * 10_000, "cannot be loaded: (SyntaxError|MemoryError|RecursionError)"),
        ("raise KeyboardInterrupt\n", r"cannot be loaded: KeyboardInterrupt \(line 1\)"),
    ],
)
def test_what_cannot_be_loaded_leaves_no_module(text: str | bytes, expected: str, run: Callable[..., Any]) -> None:
    before = modules()

    async def main() -> None:
        with pytest.raises(Exception, match=expected):
            await in_thread(CLOCK, 20, load_text, text)

    run(main)
    assert modules() == before


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", "A: A has no info"),
        ("def info(self): return {'name': 'a'}", "A: .*capabilities"),
        ("def info(self): return 1 / 0", "A cannot be made: ZeroDivisionError"),
        ("def __init__(self, config): raise OSError('no disk')", "A cannot be made: OSError: no disk"),
        ("concurrency = 0", "A: concurrency must be"),
    ],
)
def test_a_class_that_says_nothing_sensible_fails_the_file(body: str, expected: str) -> None:
    before = modules()
    with pytest.raises(ConfigError, match=expected) as error:
        load_text(f"from shoal.services import ServiceAgent\nclass A(ServiceAgent):\n    {body}\n")
    assert isinstance(error.value, InfoError) == ("cannot be made" not in expected)
    assert modules() == before


def test_an_import_that_never_ends_is_interrupted(run: Callable[..., Any]) -> None:
    before, threads = modules(), threading.active_count()

    async def main() -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.ensure_future(turn())
        with pytest.raises(TimeoutError):
            await in_thread(CLOCK, 0.3, load_text, "while True:\n    pass\n")
        turning.cancel()
        assert turns > 5, "the loop went on"
        deadline = time.monotonic() + 20
        while modules() != before or threading.active_count() > threads:
            assert time.monotonic() < deadline, "nothing of it is left"
            await asyncio.sleep(0.01)

    run(main)


def test_loading_by_name_says_the_line(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("a = 1\n\nb = a / 0\n")
    with pytest.raises(ConfigError, match=r"ZeroDivisionError: division by zero \(line 3\)"):
        load(f"{tmp_path}/bad.py:b")
