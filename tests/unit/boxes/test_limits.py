from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from shoal.boxes.cgroups import Group, Home, find_homes, group_prefix, sweep
from shoal.boxes.launch import Launch, Walls
from shoal.boxes.limits import Limited
from shoal.boxes.procfs import Taken, all_stats, read_stat, started_at, taken_by
from shoal.kernel.limits import ResourceLimit


class Recorded(Walls):
    def __init__(self, signals: list[int]) -> None:
        super().__init__(Launch(command=()))
        self._signals = signals

    def signal(self, number: int) -> None:
        self._signals.append(number)


def limited(**limits: float) -> tuple[Limited, list[int], list[tuple[str, float, float]]]:
    signals: list[int] = []
    warnings: list[tuple[str, float, float]] = []

    def warn(resource_type: str, current: float, limit: float) -> None:
        warnings.append((resource_type, current, limit))

    child = Limited(Recorded(signals), ResourceLimit(**limits), Group({}), warn)  # type: ignore[arg-type]
    return child, signals, warnings


def test_memory_warns_once_at_80_percent_and_kills_once_above() -> None:
    child, signals, warnings = limited(max_memory_per_agent_mb=100)
    for used in (79, 80, 90, 100):
        child.sampled(Taken(memory_mb=used), 0.25)
    assert (signals, warnings) == ([], [("memory_mb", 80, 100)])
    for used in (101, 102):
        child.sampled(Taken(memory_mb=used), 0.25)
    assert signals == [signal.SIGKILL]
    error = child.verdict()
    assert error is not None and (error.resource_type, error.current, error.limit) == ("memory_mb", 101, 100)


def test_a_cpu_share_is_held_by_stopping_until_the_debt_is_paid() -> None:
    child, signals, _ = limited(max_cpu_percent_per_agent=50)
    cpu = 1.0
    running = 0
    child.sampled(Taken(cpu_seconds=cpu), 0.1)
    for _ in range(1000):
        stopped = bool(signals) and signals[-1] == signal.SIGSTOP
        running += not stopped
        cpu += 0 if stopped else 0.1
        child.sampled(Taken(cpu_seconds=cpu), 0.1)
    assert 490 <= running <= 510
    assert set(signals) == {signal.SIGSTOP, signal.SIGCONT}


def test_a_frozen_child_is_left_alone() -> None:
    child, signals, _ = limited(max_cpu_percent_per_agent=50)
    child.frozen = True
    for cpu in range(10):
        child.sampled(Taken(cpu_seconds=cpu), 0.1)
    assert signals == []
    child.thaw()
    assert signals == [signal.SIGCONT]


def test_stat_is_read_of_processes_with_any_name(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    process = subprocess.Popen([str(odd), "60"], start_new_session=True)
    try:
        stat = read_stat(process.pid)
        assert stat is not None
        assert (stat.pid, stat.group, stat.session) == (process.pid, process.pid, process.pid)
        assert stat.started == started_at(process.pid) > 0
        walls = Walls(Launch(command=()))
        walls.pid = process.pid
        while taken_by(walls.members(all_stats())).memory_mb == 0:
            assert process.poll() is None, "it has no memory for a moment while it starts"
    finally:
        process.kill()
        process.wait()
    assert read_stat(process.pid) is None and started_at(process.pid) == 0


def fake_proc(tmp_path: Path, cgroup: str, mountinfo: str) -> Path:
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text(mountinfo)
    return tmp_path


def test_homes_of_version_1_and_2(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "me").mkdir(parents=True)
    (two / "me").mkdir(parents=True)
    proc = fake_proc(
        tmp_path,
        "4:memory:/me\n0::/me\n",
        f"1 1 0:1 / {one} rw - cgroup cgroup rw,memory\n2 1 0:2 / {two} rw - cgroup2 cgroup2 rw\n",
    )
    assert find_homes(proc) == {"memory": Home(one / "me", 1)}
    (two / "me" / "cgroup.subtree_control").write_text("cpu pids\n")
    assert find_homes(proc) == {"memory": Home(one / "me", 1), "cpu": Home(two / "me", 2)}
    assert find_homes(tmp_path / "nothing") == {}


def test_a_group_that_cannot_be_made_holds_nothing(tmp_path: Path) -> None:
    group = Group.create({"memory": Home(tmp_path / "missing", 1)}, "g", memory_mb=1, cpu_percent=None)
    assert group.held == frozenset()
    assert group.out_of_memory() is None
    assert group.remove()


def test_groups_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = tmp_path / f"shoal-{os.getpid()}-1-77"
    living = tmp_path / f"{group_prefix()}-78"
    foreign = tmp_path / "shoal-x"
    for path in (dead, living, foreign):
        path.mkdir()
    sweep({"memory": Home(tmp_path, 1)})
    assert {path.name for path in tmp_path.iterdir()} == {living.name, foreign.name}
