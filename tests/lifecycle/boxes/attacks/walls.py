"""Code in a box that tries the walls: ``python -m tests.lifecycle.boxes.attacks.walls LEVEL``. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

from shoal.boxes import BoxLimits, BoxRuntime, BoxSpec, Mount
from shoal.boxes.box import Box
from shoal.errors import ShoalError

PROBER = Path(__file__).with_name("prober.py")
PYTHON = os.path.realpath(sys.executable)  # machines have no virtual environment
INSIDE = Path(__file__).parents[1] / "inside.py"
WRITE = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sysrq-trigger",
    "/proc/sys/vm/drop_caches",
    "/sys/kernel/uevent_helper",
    "/usr/bin/attacked",
    "/usr/bin/python3",
    "/etc/passwd",
    "/etc/attacked",
    "/attacked",
    "/shoal/guest/main.py",
    "/shoal/lib/shoal/__init__.py",
    "/dev/attacked",
)


async def said(box: Box, path: Path, *args: str) -> dict[str, Any]:
    """Run a file of ours as a command in the box; returns the JSON it prints."""
    done = await box.exec(PYTHON, "-I", "-S", "-c", path.read_text(), *args, timeout=30)
    assert done.exit_code == 0, done
    return dict(json.loads(done.stdout))


async def links(box: Box, directory: Path) -> dict[str, str]:
    """A link in a writable mount that points outside, and what is read through it."""
    secret = str(directory / "secret")
    await box.exec("ln", "-s", secret, "/out/link")
    await box.exec("ln", "-s", "/", "/out/way")
    found = {}
    for path in ("/out/link", f"/out/way{secret}", "/out/../" + secret, "/proc/self/environ", "/etc/shadow"):
        try:
            found[path.replace(str(directory), "")] = (await box.get_file(path)).decode(errors="replace")
        except ShoalError as error:
            found[path.replace(str(directory), "")] = type(error).__name__
        try:
            await box.put_file(path, b"attacked")
        except ShoalError as error:
            found["put " + path.replace(str(directory), "")] = type(error).__name__
    return found


async def main(level: str) -> dict[str, Any]:
    """Make what is not to be seen, start two boxes, and let one of them look for it."""
    with tempfile.TemporaryDirectory(prefix="shoal-attack-") as name, socket.socket(socket.AF_UNIX) as unix:
        directory = Path(name)
        for room in ("in", "out"):
            (directory / room).mkdir(mode=0o777)
            (directory / room).chmod(0o777)
        directory.chmod(0o755)
        for file in ("secret", "in/old"):
            (directory / file).write_text("secret")
            (directory / file).chmod(0o666)
        unix.bind(str(directory / "unix"))
        (directory / "unix").chmod(0o777)
        unix.listen()
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as hidden:
            abstract = f"shoal-attack-{os.getpid()}"
            hidden.bind(f"\0{abstract}")
            hidden.listen()
            return await attacked(level, directory, tcp.getsockname()[1], abstract)


async def attacked(level: str, directory: Path, port: int, abstract: str) -> dict[str, Any]:
    mounts = (Mount(directory / "in", "/in"), Mount(directory / "out", "/out", writable=True))
    async with BoxRuntime(level, logs="none") as runtime:
        box = await runtime.create_box("a", BoxSpec(mounts=mounts, limits=BoxLimits(tmp_mib=16)))
        other = await runtime.create_box("b")
        pid = other.stats().pid
        host: dict[str, Any] = {
            "secret": str(directory / "secret"),
            "marker": "SHOAL_TEST_MARKER",
            "word": "lifecycle.boxes",
            "pid": os.getpid(),
            "other": pid,
            "unix": str(directory / "unix"),
            "port": port,
            "write": WRITE,
        }
        report = await said(box, PROBER, json.dumps(host))
        report["inside"] = await said(box, INSIDE, host["secret"], str(port), abstract, str(os.getpid()))
        report["links"] = await links(box, directory)
        report["control"] = await control(host)
        report["other lives"] = (await other.exec("echo", "yes")).stdout
    report["secret afterwards"] = (directory / "secret").read_text() + (directory / "in" / "old").read_text()
    return report


async def control(host: dict[str, Any]) -> dict[str, Any]:
    """The same look without walls: at the file and the variable that were made for this."""
    command = (sys.executable, str(PROBER), json.dumps(host), "control")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return dict(json.loads(out))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
