"""``shoal boxes logs``: what agents within walls have printed, seen from another process than their runtime."""

from __future__ import annotations

import json
import signal
import stat
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shoal import AgentRuntime, Task
from shoal.boxes.keptlines import kept_lines
from shoal.config import output_folder
from tests.support.command import GUARD_SECONDS, begin, refused, shoal
from tests.support.levels import chosen, need
from tests.support.processes import Script, script

NODE = Path(__file__).with_name("printing_node.py")
ESCAPE = "\x1b[2J"
Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


@contextmanager
def node(folder: Path, level: str) -> Iterator[tuple[Script, Path]]:
    """A runtime with the agents ``printer`` at that level and ``other`` inline, and where the lines of one are kept."""
    with script(NODE, str(folder / "shoal.db"), level) as running:
        told = running.hear()
        kept = output_folder(f"sqlite:///{folder / 'shoal.db'}")
        assert kept is not None
        yield running, kept / told["agent"]


def prints(folder: Path, *lines: tuple[str, str], **more: Any) -> None:
    """Have the agent print, and wait until its task has ended."""
    work = json.dumps({"lines": lines, **more})
    done = shoal(folder, "tasks", "submit", "print", work, "--agent", "printer", "--wait")
    assert done.returncode == 0, done.stderr


def shown(folder: Path, *words: str) -> tuple[list[str], list[str]]:
    """What ``shoal boxes logs printer`` writes to its two streams."""
    done = shoal(folder, "boxes", "logs", "printer", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


@pytest.mark.parametrize("level", chosen("process", "bubblewrap", long=("gvisor", "microvm")))
def test_what_it_printed_is_shown_from_outside_and_outlives_it(tmp_path: Path, level: str) -> None:
    need(level)
    with node(tmp_path, level) as (running, kept):
        assert shown(tmp_path) == ([], ["agent 'printer' has printed nothing"])
        assert not kept.exists(), "nothing is made for who prints nothing"
        prints(tmp_path, ("stdout", "one"), ("stderr", "two"), ("stdout", f"three {ESCAPE}"))
        assert shown(tmp_path) == (["one", "three \\x1b[2J"], ["two"])
        assert shown(tmp_path, "--tail", "2") == (["three \\x1b[2J"], ["two"])
        assert shown(tmp_path, "--tail", "0") == ([], [])
        assert shown(tmp_path, "--stream", "stdout")[1] == [] and shown(tmp_path, "--stream", "stderr") == ([], ["two"])
        records = [json.loads(line) for line in shown(tmp_path, "--json")[0]]
        texts = sorted((one["stream"], one["text"]) for one in records)
        assert texts == [("stderr", "two"), ("stdout", "one"), ("stdout", f"three {ESCAPE}")]
        prints(tmp_path, ("stdout", "again"), dies=True)
        running.process.send_signal(signal.SIGKILL)
    assert shown(tmp_path, "--stream", "stdout")[0] == ["one", "three \\x1b[2J", "again", "last words", "again"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (kept, kept.parent, kept.parent.parent)}
    assert modes == {0o700} and {stat.S_IMODE(path.stat().st_mode) for path in kept.iterdir()} == {0o600}


def test_it_is_followed_through_a_restart_of_its_runtime(tmp_path: Path) -> None:
    with node(tmp_path, "process") as (_, kept):
        prints(tmp_path, ("stdout", "before"))
        following = begin(tmp_path, "boxes", "logs", "printer", "--follow", "--tail", "1")
        assert following.stdout is not None
        assert following.stdout.readline() == "before\n"
        prints(tmp_path, ("stdout", "meanwhile"))
        assert following.stdout.readline() == "meanwhile\n"
    with open(kept / "1", "ab") as file:  # as if it had been killed in the middle of a line
        file.write(b'{"at":"2026')
    with node(tmp_path, "process"):
        prints(tmp_path, ("stdout", "afterwards"))
        assert following.stdout.readline() == "afterwards\n"
        following.send_signal(signal.SIGINT)
        rest, errors = following.communicate(timeout=GUARD_SECONDS)
        assert (rest, following.returncode) == ("", 130) and "Traceback" not in errors
    assert shown(tmp_path)[0] == ["before", "meanwhile", "afterwards"]


def test_what_is_kept_is_bounded_and_the_newest(tmp_path: Path) -> None:
    need("bubblewrap")
    with node(tmp_path, "bubblewrap") as (_, kept):
        prints(tmp_path, count=5000)
        lines = [line.text.split()[1] for line in kept_lines(kept)]
        assert 300 <= len(lines) <= 400 and lines == [str(number) for number in range(5000 - len(lines), 5000)]
        assert len(list(kept.iterdir())) <= 4
        prints(tmp_path, long=3_000_000)
        prints(tmp_path, ("stdout", "end"))
        assert sum(path.stat().st_size for path in kept.iterdir()) <= 1 << 20
        assert shown(tmp_path, "--tail", "1") == (["end"], [])
        assert max(len(line.text) for line in kept_lines(kept)) == 65536
        assert len(shown(tmp_path, "--stream", "stdout")[0][-2]) > 500_000, "its parts are put together"


@pytest.mark.parametrize(("level", "seen"), [("process", f"one {ESCAPE}\n"), ("bubblewrap", "one \\x1b[2J\n")])
def test_behind_walls_nothing_reaches_the_terminal_but_text(
    level: Any, seen: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(task: Task) -> None:
        print(f"one {task.input_data['escape']}")

    async def main() -> None:
        async with AgentRuntime(store="sqlite://:memory:") as runtime:
            await runtime.register_agent("agent", speak, isolation=level)
            await runtime.start_agent("agent")
            task_id = await runtime.submit_task("speak", {"escape": ESCAPE}, agent="agent")
            await runtime.wait_for_task(task_id, timeout_seconds=60)

    need(level)
    run(main)
    assert capsys.readouterr().out == seen


def test_it_is_forgotten_with_its_agent(tmp_path: Path, run: Run) -> None:
    def speak(task: Task) -> None:
        print("one")

    async def main() -> None:
        async with AgentRuntime(tmp_path / "shoal.db") as runtime:
            agent_id = await runtime.register_agent("agent", speak, isolation="process")
            await runtime.start_agent("agent")
            await runtime.wait_for_task(await runtime.submit_task("speak", {}, agent="agent"), timeout_seconds=60)
            await runtime.stop_agent("agent")
            folder = output_folder(runtime.url)
            assert folder is not None
            assert [line.text for line in kept_lines(folder / agent_id)] == ["one"]
            await runtime.unregister_agent("agent")
            assert list(folder.iterdir()) == []

    run(main)


def test_a_file_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    with node(tmp_path, "process") as (_, kept):
        kept.parent.mkdir(parents=True)
        kept.write_text("in the way")
        prints(tmp_path, ("stdout", "one"))
        assert kept.read_text() == "in the way"


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with node(tmp_path, "process"):
        refused(shoal(tmp_path, "boxes", "logs", "printr"), 2, "'printr'", "'printer'")
        refused(shoal(tmp_path, "boxes", "logs", "other"), 2, "'other' runs inline", "isolation='process'")
        refused(shoal(tmp_path, "boxes", "logs", "printer", "--stream", "stdin"), 2, "stdin")
        refused(shoal(tmp_path, "boxes", "logs", "printer", "--tail", "-1"), 2, "tail")
    refused(shoal(tmp_path, "boxes", "logs", "printer", "--store", "sqlite://:memory:"), 2, "in memory")
    refused(shoal(tmp_path, "boxes", "logs", "printer", "--store", "nowhere.db"), 2, "nowhere.db")
