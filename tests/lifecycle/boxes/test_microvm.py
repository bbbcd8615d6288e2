"""Real virtual machines: what is in one, what comes out of it, and how it ends."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shoal.boxes.launch import LaunchOrder
from shoal.boxes.microvm import MicrovmLauncher, kvm_fault
from shoal.boxes.procfs import ProcessStat, all_stats, descendants, read_stat
from shoal.boxes.spec import BoxLimits, BoxSpec, Mount
from shoal.errors import BoxSpecError, BoxStartError
from tests.lifecycle.boxes.machines import Machine, machine, require_machines

MIB = 1 << 20
MAX_FRAME = 1 * MIB


@pytest.fixture(autouse=True, scope="module")
def machines() -> None:
    require_machines()


LOOK = """
import errno, fcntl, importlib, os, socket, struct, sys, time
def refused(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return None
def room(place):
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize
def fill(place):
    with open(place + "/full", "wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(1 << 20))
def imported(*names):
    sys.path.append("/shoal/lib")
    return [importlib.import_module(name).__name__ for name in names][-1]
def status():
    with open("/proc/self/status") as file:
        return dict(line.split()[:2] for line in file if len(line.split()) > 1)
value = {
    "time": time.time(),
    "python": list(sys.version_info[:2]),
    "user": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
    "status": {k[:-1]: v for k, v in status().items() if k.startswith(("Cap", "NoNewPrivs"))},
    "env": dict(os.environ),
    "cwd": os.getcwd(),
    "hostname": socket.gethostname(),
    "kernel": os.uname().release,
    "processors": os.cpu_count(),
    "net": os.listdir("/sys/class/net"),
    "processes": [name for name in os.listdir("/proc") if name.isdigit()] == [str(os.getpid())],
    "rooms": [room("/tmp"), room("/work")],
    "limits": [open("/sys/fs/cgroup/box/" + name).read() for name in ("pids.max", "memory.max", "cgroup.procs")],
    "fill": refused(lambda: fill("/work")),
    "write": [refused(lambda: open(path, "w")) for path in ("/x", "/usr/x", "/etc/passwd", "/shoal/x")],
    "disk": refused(lambda: open("/dev/vda", "rb")),
    "port": [refused(lambda: open("/dev/" + name, "rb")) for name in os.listdir("/dev") if name.startswith("vport")],
    "connect": refused(lambda: socket.create_connection(("127.0.0.1", PORT), timeout=5)),
    "namespace": refused(lambda: open("/proc/self/setgroups", "w")) and open("/proc/sys/user/max_user_namespaces").read(),
    "host": [os.path.exists(path) for path in PATHS],
    "packages": imported("msgspec", "cloudpickle", "ssl", "sqlite3", "ctypes", "shoal.boxes.agentguest.serve"),
    "shell": os.popen("echo $((6 * 7)); ls / | wc -l").read().split()[0],
}
"""


def test_what_is_in_a_machine(run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_TEST_SECRET", "of the host")
    (tmp_path / "secret").write_text("of the host")

    async def main() -> None:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        limits = BoxLimits(memory_mib=256, tmp_mib=16, pids=77)
        async with server, machine(limits=limits, env={"MARK": "of the spec"}, hostname="inside") as box:
            assert box.child.hello is not None and box.child.hello.uid == 1000
            paths = [str(tmp_path / "secret"), "/etc/shadow", str(Path(__file__))]
            found = await box.run(f"PORT, PATHS = {port}, {paths}\n{LOOK}")
        assert abs(found["time"] - time.time()) < 5
        assert found["python"] == list(sys.version_info[:2])
        assert found["user"] == [1000] * 6
        assert {name: int(bits, 16) for name, bits in found["status"].items()} == {
            **dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), 0),
            "NoNewPrivs": 1,
        }
        path = "/usr/local/bin:/usr/bin:/bin"
        assert found["env"] == {"PATH": path, "HOME": "/work", "LANG": "C.UTF-8", "MARK": "of the spec"}
        assert (found["cwd"], found["hostname"]) == ("/work", "inside")
        assert found["kernel"] != platform.release()
        assert found["processors"] == 1
        assert found["net"] == ["lo"]
        assert found["processes"]
        assert found["rooms"] == [16 * MIB, 16 * MIB]
        assert found["limits"] == ["77\n", f"{256 * MIB}\n", f"{box.child.hello.pid}\n"]
        assert found["fill"] == "ENOSPC"
        assert found["write"] == ["EROFS"] * 4
        assert found["disk"] == "EACCES" and found["port"] == ["EACCES"]
        assert found["connect"] == "ENETUNREACH"
        assert found["namespace"] == "0\n"
        assert found["host"] == [False, False, False]
        assert found["packages"] == "shoal.boxes.agentguest.serve"
        assert found["shell"] == "42"

    run(main)


def test_frames_and_output(run: Callable[..., Any]) -> None:
    async def main() -> None:
        early = ("print('early')", f"value = len({'x' * 300_000!r})", "value = 'last'")
        async with machine(early=early) as box:
            for value in (None, 300_000, "last"):
                assert await box.next("frame") == {"type": "done", "value": value}

            data = os.urandom(1 * MIB)
            assert await box.echo(data) == data
            assert await box.run("value = 'x' * 1_000_000") == "x" * 1_000_000

            box.said.clear()
            box.post("import sys\nfor n in range(300): print(n); print(n, file=sys.stderr); say(type='at', n=n)")
            await _in_order(box, 300)
            assert box.said == []

            # More than any pipe or port holds, and the frame still comes after it.
            assert await _printed_before(box, 3 * MIB) == 3 * MIB

    run(main)


async def _in_order(box: Machine, count: int) -> None:
    before: list[tuple[str, Any]] = []
    for n in range(count):
        seen: list[tuple[str, Any]] = []
        while ("frame", {"type": "at", "n": n}) not in seen:
            async with asyncio.timeout(30):
                while not box.said:
                    box.news.clear()
                    await box.news.wait()
            seen.append(box.said.pop(0))
        before += seen
        assert ("stdout", f"{n}\n") in before and ("stderr", f"{n}\n") in before
    assert await box.next("frame") == {"type": "done", "value": None}


async def _printed_before(box: Machine, size: int) -> int:
    box.post(f"for _ in range({size} // 64): print('y' * 63)")
    async with asyncio.timeout(60):
        while not any(kind == "frame" for kind, _ in box.said):
            box.news.clear()
            await box.news.wait()
    return sum(len(what) for kind, what in box.said if kind == "stdout")


def test_exit_codes_and_last_words(run: Callable[..., Any]) -> None:
    async def ended(code: str) -> tuple[int, str, str, list[Any]]:
        async with machine() as box:
            box.post(code)
            code_of_it = await box.end()
            return (
                code_of_it,
                box.printed(),
                box.printed("stderr"),
                [what for kind, what in box.said if kind == "frame"],
            )

    async def main() -> None:
        left, killed = await asyncio.gather(
            ended("import os; say(big='x' * 150_000); os.write(1, b'last'); os.write(2, b'words'); os._exit(7)"),
            ended("import os; os.fork() or os.execlp('sleep', 'sleep', '999'); print('gone', flush=True); os.abort()"),
        )
        assert left == (7, "last", "words", [{"big": "x" * 150_000}])
        assert killed[:2] == (128 + signal.SIGABRT, "gone\n")

    run(main)


HOG = """
import os, time
held = []
if os.fork() == 0:
    while True:
        held.append(bytes(range(256)) * (1 << 14))
time.sleep(600)
"""


def test_too_much_memory_ends_the_machine(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with machine(limits=BoxLimits(memory_mib=96)) as box:
            box.post(HOG)
            assert await box.end() == 128 + signal.SIGKILL
            assert box.walls.holding is not None
            assert box.walls.holding.verdict() == "memory limit 96 MiB"
            assert box.walls.holding.held["memory_mib"] == "vm"

    run(main)


def test_a_machine_from_outside(run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with machine() as box:
            check_qemu(box)

            await box.run("import signal, os\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(3))")
            box.walls.freeze()
            await asyncio.sleep(0.2)  # what it was doing just then
            before = _cpu(box)
            box.post("value = 1")
            await asyncio.sleep(0.7)
            assert _cpu(box) - before < 0.1
            assert box.said == []
            box.walls.thaw()
            assert await box.next("frame") == {"type": "done", "value": 1}
            box.walls.signal(signal.SIGTERM)
            box.post("")  # Python hears a signal that comes just before a read when the read has ended
            assert await box.end() == 3

    run(main)


def check_qemu(box: Machine) -> None:
    """What QEMU is on the host, should a guest ever take it over."""
    (qemu,) = [stat.pid for stat in box.walls.members(all_stats()) if _program(stat.pid) == "qemu-system-x86"]
    lines = Path(f"/proc/{qemu}/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0] * 4
    assert len(status["NSpid"].split()) == 2
    if os.geteuid() == 0:  # others may not look
        users = {int(user) for user in status["Uid"].split()}
        assert len(users) == 1 and min(users) >= 1_900_000_000
        assert set(os.listdir(f"/proc/{qemu}/root")) <= {"dev", "etc", "lib", "lib64", "proc", "usr", "vm"}
        assert Path(f"/proc/{qemu}/net/dev").read_text().count("\n") == 3, "the loopback device alone"


def _cpu(box: Machine) -> float:
    return sum(stat.cpu for stat in box.walls.members(all_stats()))


def test_mounts_are_read_only_disks(run: Callable[..., Any], tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "file").write_bytes(b"hello" * 1000)
    (tmp_path / "one").write_text("one file")
    code = """
def write(path):
    try:
        open(path, "w")
    except OSError as error:
        return error.strerror
value = [
    *(open(path).read(5000) for path in ("/srv/new/deep/file", "/usr/share/one.txt", "/work/data/deep/file")),
    open("/more/11/deep/file").read(5),
    *map(write, ("/srv/new/x", "/usr/share/one.txt", "/work/data/x", "/srv/x", "/x")), write("/work/x"), write("/tmp/x"),
]
"""

    async def main() -> None:
        mounts: tuple[Mount, ...]
        mounts = (Mount(data, "/srv/new"), Mount(tmp_path / "one", "/usr/share/one.txt"), Mount(data, "/work/data"))
        mounts += tuple(Mount(data, f"/more/{number}") for number in range(12))  # as many as there can be
        limits = BoxLimits(memory_mib=256, cpus=2)
        async with machine(guest="/opt/guest.py", mounts=mounts, limits=limits) as box:
            read_only = ["Read-only file system"] * 5
            assert await box.run(code) == ["hello" * 1000, "one file", "hello" * 1000, "hello", *read_only, None, None]
            assert await box.run("import os; value = os.cpu_count()") == 2

    run(main)


def test_another_root_directory(run: Callable[..., Any], tmp_path: Path) -> None:
    """One without the places that a machine needs: here, what is made of this interpreter, in a place of its own."""
    from shoal.boxes.vmdisk import program
    from shoal.boxes.vmroot import POINTS, ask_interpreter, stage_root

    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    python = ask_interpreter(None)
    stage_root(root, python, Path(program("busybox", "busybox-static")))
    for point in POINTS:
        (root / point.lstrip("/")).rmdir()
    (root / "marker").write_text("another root")

    async def main() -> None:
        async with machine(rootfs=root, python=python.executable) as box:
            assert await box.run("value = open('/marker').read()") == "another root"

    run(main)


def test_nothing_is_left_when_the_starter_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(
        textwrap.dedent("""
        import asyncio
        from tests.lifecycle.boxes.machines import machine

        async def main():
            async with machine() as box:
                box.post("import time; time.sleep(600)")  # it does not hear the end of its channel
                print(box.child.pid, flush=True)
                await asyncio.sleep(600)

        asyncio.run(main())
        """)
    )
    root = str(Path(__file__).parents[3])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=env, cwd=root) as starter:
        assert starter.stdout is not None
        relay = int(starter.stdout.readline())
        below = [stat.pid for stat in descendants(relay, all_stats())]
        assert len(below) >= 2, "bubblewrap and QEMU"
        starter.kill()
    deadline = time.monotonic() + 5
    while left := [stat for pid in (relay, *below) if _lives(stat := read_stat(pid))]:
        assert time.monotonic() < deadline, f"left: {left}"
        time.sleep(0.02)


def _lives(stat: ProcessStat | None) -> bool:
    return stat is not None and stat.state not in "ZX"


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_what_a_machine_cannot_be_is_refused_before_anything_starts(run: Callable[..., Any], tmp_path: Path) -> None:
    async def main() -> None:
        launcher = MicrovmLauncher()
        spec = BoxSpec(network=True, mounts=(Mount(tmp_path, "/data", writable=True),))
        with pytest.raises(BoxSpecError, match=r"no network.*writable") as refused:
            await launcher.prepare(spec)
        assert len(refused.value.faults) == 2
        with pytest.raises(BoxSpecError, match="cannot be asked"):
            await launcher.prepare(BoxSpec(python="/nowhere/python"))
        with pytest.raises(BoxStartError, match="needs 32"):
            limits = BoxLimits(memory_mib=16)
            launcher.build(LaunchOrder(box_id="b", directory=tmp_path / "b", spec=BoxSpec(), limits=limits))
        assert not (tmp_path / "b").exists()

    run(main)


def test_kvm_is_used_only_where_it_is_fast() -> None:
    found = kvm_fault()
    assert found is None or "/dev/kvm" in found or "20,000 rounds" in found or "loop" in found
