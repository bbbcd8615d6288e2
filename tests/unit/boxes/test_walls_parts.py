"""The parts of walls: groups, user numbers, the filter, what is bound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from shoal.boxes.cgroups import Home, find_homes, remove_groups
from shoal.boxes.holding import Holding
from shoal.boxes.procfs import ProcessStat, descendants
from shoal.boxes.seccomp import filter_program
from shoal.boxes.spec import BoxLimits, BoxSpec, Mount
from shoal.boxes.state import forget_directory, new_box_id, state_directory
from shoal.boxes.tree import ancestors, import_path, tree_of
from shoal.boxes.usernumbers import FIRST_USER, USERS, UserNumber, covers
from shoal.errors import BoxSpecError


def test_user_numbers_are_never_shared_by_the_living() -> None:
    claimed = [UserNumber() for _ in range(20)]
    numbers = {claim.number for claim in claimed}
    assert len(numbers) == 20 and all(FIRST_USER <= number < FIRST_USER + USERS for number in numbers)
    script = "from shoal.boxes.usernumbers import UserNumber; print(*(UserNumber().number for _ in range(20)))"
    others = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert numbers.isdisjoint(map(int, others.split()))
    for claim in claimed:
        claim.release()


@pytest.mark.parametrize(
    ("uid_map", "covered"),
    [
        ("0 0 4294967295\n", True),
        ("0 0 1\n", False),
        (f"0 0 1\n{FIRST_USER} 5 {USERS}\n", True),
        ("", False),
        ("x", False),
    ],
)
def test_numbers_outside_of_the_user_namespace_are_not_taken(tmp_path: Path, uid_map: str, covered: bool) -> None:
    (tmp_path / "uid_map").write_text(uid_map)
    assert covers(FIRST_USER, tmp_path / "uid_map") is covered
    assert not covers(FIRST_USER, tmp_path / "missing")


def test_the_filter_is_a_program_of_whole_instructions() -> None:
    pytest.importorskip("pyseccomp")
    closed, open_ = filter_program(False), filter_program(True)
    assert closed != open_ and len(closed) % 8 == len(open_) % 8 == 0
    assert 100 <= len(closed) // 8 <= 300


def stat(pid: int, parent: int, state: str = "S") -> ProcessStat:
    return ProcessStat(
        pid=pid, state=state, parent=parent, group=1, session=1, started=1, cpu=0, children_cpu=0, memory_mb=1
    )


def test_descendants_are_found_whatever_the_order() -> None:
    stats = [stat(9, 7), stat(7, 5), stat(5, 1), stat(6, 1), stat(8, 7, "Z")]
    assert [found.pid for found in descendants(5, stats)] == [7, 9]
    assert descendants(4, stats) == []


def test_directories_above_a_bind_are_made_unless_it_lies_in_a_bound_tree() -> None:
    assert ancestors("/root/.pyenv/x", ["/usr"]) == ["/root", "/root/.pyenv"]
    assert ancestors("/usr/lib/x", ["/usr"]) == []
    assert ancestors("/x", []) == []


def test_the_interpreter_and_what_shoal_brings_are_bound() -> None:
    tree = tree_of(BoxSpec())
    targets = {bind.target for bind in (*tree.system, *tree.binds)}
    assert {"/usr", "/shoal/guest", "/shoal/lib/shoal", "/shoal/lib/cloudpickle", "/shoal/lib/msgspec"} <= targets
    assert tree.python == sys.executable and not any(bind.writable for bind in tree.binds)
    assert any(sys.executable.startswith(target) for target in targets)
    path = import_path(BoxSpec())
    assert path[0] == "/shoal/lib" and any(entry.endswith("site-packages") for entry in path[1:])


def test_links_on_the_way_to_an_interpreter_are_there(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to("deeper")
    (tmp_path / "deeper").symlink_to(os.path.realpath(sys.executable))
    tree = tree_of(BoxSpec(python=str(link)))
    assert (str(link), "deeper") in tree.hops and (
        str(tmp_path / "deeper"),
        os.path.realpath(sys.executable),
    ) in tree.hops
    with pytest.raises(BoxSpecError, match="no Python"):
        tree_of(BoxSpec(python=str(tmp_path / "missing")))


def test_a_mount_finds_its_place_or_is_refused(tmp_path: Path) -> None:
    bound = tree_of(BoxSpec(mounts=(Mount(tmp_path, "/data/in/"),))).binds[-1]
    assert (bound.source, bound.target, bound.writable) == (str(tmp_path), "/data/in", False)
    with pytest.raises(BoxSpecError, match="no such place in /usr"):
        tree_of(BoxSpec(mounts=(Mount(tmp_path, "/usr/not/there"),)))


def test_python_in_a_root_directory_is_found_as_the_box_will_find_it(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3").symlink_to("/etc/alternatives/python")
    (tmp_path / "etc/alternatives").mkdir(parents=True)
    (tmp_path / "etc/alternatives/python").symlink_to("../../../../usr/bin/python3.11")
    with pytest.raises(BoxSpecError, match="no Python"):
        tree_of(BoxSpec(rootfs=tmp_path), tmp_path)
    (tmp_path / "usr/bin/python3.11").touch()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "proc").mkdir()
    tree = tree_of(BoxSpec(rootfs=tmp_path), tmp_path)
    assert [bind.target for bind in tree.system] == ["/etc", "/usr"] and tree.links == (("/bin", "usr/bin"),)


# -- groups --------------------------------------------------------------------------------------------------------


def test_homes_of_version_2_can_be_frozen_without_a_controller(tmp_path: Path) -> None:
    two = tmp_path / "two"
    two.mkdir()
    (two / "cgroup.subtree_control").write_text("memory pids\n")
    (two / "cgroup.procs").touch()
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "mountinfo").write_text(f"2 1 0:2 / {two} rw - cgroup2 cgroup2 rw\n")
    homes = find_homes(tmp_path, ("memory", "cpu", "pids", "freezer", "cpuacct"))
    assert homes == {name: Home(two, 2) for name in ("memory", "pids", "freezer")}


def version_2(directory: Path) -> dict[str, Home]:
    return {name: Home(directory, 2) for name in ("memory", "cpu", "pids", "freezer")}


def test_each_limit_is_told_with_what_holds_it(tmp_path: Path) -> None:
    box_id = new_box_id()
    held = Holding(box_id, BoxLimits(cpus=0.5, pids=9), homes=version_2(tmp_path), extra_pids=2).held
    assert held == {
        "memory_mib": "cgroup2",
        "cpus": "cgroup2",
        "pids": "cgroup2",
        "tmp_mib": "none",
        "open_files": "rlimit",
    }
    (group,) = tmp_path.iterdir()
    assert (group / "cpu.max").read_text() == "50000 100000" and (group / "pids.max").read_text() == "11"
    assert (state_directory(box_id) / "groups").read_text() == f"{group}\n"
    forget_directory(box_id)
    bare = Holding(new_box_id(), BoxLimits(cpus=0.5), homes={}, others={"pids": "rlimit"})
    assert bare.held["cpus"] == "none" and bare.held["pids"] == "rlimit" and bare.held["memory_mib"] == "sampling"
    assert bare.joined(("a", "b")) == ("a", "b")


def test_sampling_kills_over_the_limits_that_no_group_holds() -> None:
    holding = Holding(new_box_id(), BoxLimits(memory_mib=2.5, pids=4), homes={}, others={"pids": "sampling"})
    assert not holding.too_much([stat(1, 0), stat(2, 1)]) and holding.verdict() is None
    assert holding.too_much([stat(n, 0) for n in (1, 2, 3)]) and holding.verdict() == "memory limit 2.5 MiB"
    crowded = Holding(new_box_id(), BoxLimits(pids=2), homes={}, others={"pids": "sampling"})
    assert crowded.too_much([stat(n, 0) for n in (1, 2, 3)]) and crowded.verdict() == "limit of 2 processes"


def test_groups_that_are_gone_already_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    remove_groups([str(tmp_path / "missing"), str(tmp_path / "empty")])
    assert list(tmp_path.iterdir()) == []
