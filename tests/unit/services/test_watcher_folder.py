"""What is seen of a folder of agent files, and what is not read."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from shoal.errors import ConfigError
from shoal.services.watchfolder import MOST_BYTES, Folder
from tests.support.agentfiles import put

SETTLE = 60.0
LATER = 2**53  # microseconds: everything has been left alone for long


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "agents"
    folder.mkdir()
    return folder


def read(folder: Folder, now: int | None = None) -> dict[str, bytes]:
    return {source.name: source.data for source in folder.look(now).sources}


def test_a_file_is_read_once_and_again_when_it_has_changed(path: Path) -> None:
    (path / "a.py").write_text("a = 1")
    (path / "notes.txt").write_text("no agent")
    (path / ".a.py").write_text("of an editor")
    folder = Folder(path, SETTLE)
    assert read(folder) == {"a.py": b"a = 1"}
    assert read(folder) == {}
    (path / "a.py").write_text("a = 2")
    assert read(folder) == {"a.py": b"a = 2"}
    put(path / "a.py", "a = 3")
    assert read(folder) == {"a.py": b"a = 3"}
    folder.forget(["a.py"])
    assert read(folder) == {"a.py": b"a = 3"}
    (path / "a.py").unlink()
    look = folder.look(None)
    assert (look.names, look.sources) == (frozenset(), ())
    (path / "a.py").write_text("a = 3")
    assert read(folder) == {"a.py": b"a = 3"}, "it is new again"


def test_a_change_within_the_same_size_and_time_is_seen(path: Path) -> None:
    file = path / "a.py"
    file.write_text("a = 1")
    folder = Folder(path, SETTLE)
    read(folder)
    times = file.stat()
    file.write_text("a = 2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert read(folder) == {"a.py": b"a = 2"}


def test_a_file_is_read_when_two_looks_have_found_the_same(path: Path) -> None:
    file = path / "a.py"
    now = 0  # whatever is written is newer than that
    folder = Folder(path, SETTLE)
    file.write_text("a =")
    assert folder.look(now).unsettled == {"a.py"}
    file.write_text("a = 1\n")
    assert read(folder, now) == {}, "it has grown meanwhile"
    look = folder.look(now)
    assert [source.data for source in look.sources] == [b"a = 1\n"]
    assert look.unsettled == frozenset()
    assert read(Folder(path, SETTLE), int(file.stat().st_mtime * 1e6)) == {}
    folder = Folder(path, SETTLE)
    assert read(folder, LATER) == {"a.py": b"a = 1\n"}, "nobody has touched it for long"
    file.write_text("")
    (path / "b.py").write_text("")
    assert read(folder, LATER) == {}, "later the times are not believed"
    assert read(folder, LATER) == {"a.py": b"", "b.py": b""}


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_a_folder_that_others_can_write_to_is_refused(path: Path, mode: int) -> None:
    (path / "a.py").write_text("a = 1")
    path.chmod(mode)
    folder = Folder(path, SETTLE)
    for attempt in (folder.check, lambda: folder.look(None)):
        with pytest.raises(ConfigError, match=rf"agents can be written by others \(its mode is {mode:o}\)") as error:
            attempt()
        assert error.value.__notes__ == ["Only its owner may be able to put code there: chmod go-w, chown."]
    path.chmod(0o755)
    assert read(folder) == {"a.py": b"a = 1"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_refused(path: Path) -> None:
    (path / "a.py").write_text("a = 1")
    os.chown(path / "a.py", 4711, -1)
    look = Folder(path, SETTLE).look(None)
    assert (look.sources, look.faults) == ((), {"a.py": "a.py belongs to user 4711, not to this one"})
    os.chown(path, 4711, -1)
    with pytest.raises(ConfigError, match="agents belongs to user 4711"):
        Folder(path, SETTLE).check()


def test_a_folder_that_is_none(path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere cannot be opened: No such file"):
        Folder(path / "nowhere", SETTLE).check()
    (path / "a.py").write_text("a = 1")
    with pytest.raises(ConfigError, match=r"a\.py cannot be opened: Not a directory"):
        Folder(path / "a.py", SETTLE).check()


def test_what_is_no_fit_file_is_a_fault_until_it_changes(path: Path) -> None:
    (path / "good.py").write_text("a = 1")
    (path / "open.py").write_text("a = 1")
    (path / "open.py").chmod(0o666)
    (path / "huge.py").write_bytes(b"#" * (MOST_BYTES + 1))
    (path / "largest.py").write_bytes(b"#" * MOST_BYTES)
    (path / "folder.py").mkdir()
    os.mkfifo(path / "pipe.py", 0o600)
    folder = Folder(path, SETTLE)
    look = folder.look(None)
    assert {source.name for source in look.sources} == {"good.py", "largest.py"}
    expected = {
        "folder.py": "folder.py is no regular file",
        "huge.py": f"huge.py is too large: {MOST_BYTES + 1} bytes, and {MOST_BYTES} is the most",
        "open.py": "open.py can be written by others (its mode is 666)",
        "pipe.py": "pipe.py is no regular file",
    }
    assert look.faults == expected
    assert folder.look(None).faults == expected, "they stand"
    (path / "open.py").chmod(0o644)
    (path / "huge.py").write_text("a = 2")
    (path / "pipe.py").unlink()
    look = folder.look(None)
    assert {source.name: source.data for source in look.sources} == {"huge.py": b"a = 2", "open.py": b"a = 1"}
    assert set(look.faults) == {"folder.py"}


def test_links_are_followed_within_the_folder_only(path: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.py").write_text("secret = 1")
    (path / "out.py").symlink_to(outside / "secret.py")
    (path / "up.py").symlink_to("../outside/secret.py")
    (path / "to_folder").symlink_to(outside)
    (path / "through.py").symlink_to("to_folder/secret.py")
    (path / "dead.py").symlink_to("nothing.py")
    (path / "round.py").symlink_to("round.py")
    (path / "..data").mkdir()
    (path / "..data" / "a.py").write_text("a = 1")
    (path / "in.py").symlink_to("..data/a.py")
    folder = Folder(path, SETTLE)
    look = folder.look(None)
    assert {source.name: source.data for source in look.sources} == {"in.py": b"a = 1"}
    out = "is a link that leads out of the folder"
    assert {name: look.faults[name] for name in ("out.py", "up.py", "through.py")} == {
        name: f"{name} {out}" for name in ("out.py", "up.py", "through.py")
    }
    assert look.faults["dead.py"] == "dead.py is a link that leads nowhere: No such file or directory"
    assert look.faults["round.py"].startswith("round.py is a link that leads nowhere: Too many")
    (path / "nothing.py").write_text("n = 1")
    (path / "..data" / "a.py").write_text("a = 2")
    assert read(folder) == {"dead.py": b"n = 1", "nothing.py": b"n = 1", "in.py": b"a = 2"}
    (path / "..data").chmod(0o777)
    (path / "..data" / "a.py").write_text("a = 3")
    assert folder.look(None).faults["in.py"] == "in.py can be written by others (its mode is 777)"


def test_a_folder_may_be_named_by_a_link(path: Path, tmp_path: Path) -> None:
    (path / "a.py").write_text("a = 1")
    (tmp_path / "link").symlink_to(path)
    assert read(Folder(tmp_path / "link", SETTLE)) == {"a.py": b"a = 1"}


def test_a_file_that_is_swapped_for_a_link_all_the_time_never_leads_out(path: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("secret = 1")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            put(path / "a.py", "a = 1")
            (path / ".link").symlink_to(tmp_path / "secret.py")
            os.replace(path / ".link", path / "a.py")

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        folder = Folder(path, SETTLE)
        for _ in range(2000):
            assert set(read(folder).values()) <= {b"a = 1"}
            folder.forget(["a.py"])
    finally:
        over.set()
        swapping.join()


def test_looking_leaves_nothing_open(path: Path) -> None:
    (path / "in").mkdir()
    (path / "in" / "a.py").write_text("a = 1")
    (path / "a.py").symlink_to("in/a.py")
    (path / "b.py").write_text("b = 1")
    (path / "b.py").chmod(0o666)
    (path / "c.py").mkdir()
    (path / "d.py").symlink_to("in/nothing.py")
    (path / "e.py").symlink_to("/etc/passwd")
    folder = Folder(path, SETTLE)
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        folder.forget(["a.py", "b.py", "c.py", "d.py", "e.py"])
        folder.look(None)
    path.chmod(stat.S_IRWXU | stat.S_IWOTH)
    with pytest.raises(ConfigError):
        folder.look(None)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_name_that_is_no_text_is_told_as_text(path: Path) -> None:
    (path / "a.py").write_text("a = 1")
    with open(os.fsencode(path) + b"/\xff.py", "w") as file:
        file.write("a = 2")
    look = Folder(path, SETTLE).look(None)
    assert [source.name for source in look.sources] == ["a.py"]
    assert look.faults == {"\\udcff.py": "\\udcff.py has a name that is no UTF-8"}
    assert look.names == {"a.py", "\\udcff.py"} and not look.unsettled
