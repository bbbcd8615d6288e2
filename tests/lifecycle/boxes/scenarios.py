"""What tests have done in boxes, by this user or another: ``python -m tests.lifecycle.boxes.scenarios NAME LEVEL [ARG]``.

Prints one line of JSON. It may run under ``unshare``, so that what a box should not be able to do could harm nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from shoal.boxes import BoxRuntime
from shoal.boxes.holding import BoxWatch, Holding, box_homes
from shoal.boxes.probing import probe, strongest
from shoal.boxes.procfs import all_stats, descendants
from shoal.boxes.spec import BoxLimits, BoxSpec, Mount
from shoal.boxes.state import sweep_state
from shoal.errors import DeadAgentError, ShoalError
from shoal.kernel.clock import RealClock
from tests.support.launched import Launched, launched

INSIDE = Path(__file__).with_name("inside.py")
CLOSES = Path(__file__).with_name("closes_channel.py")


def holding(box: Launched) -> Holding:
    assert box.walls.holding is not None
    return box.walls.holding


def usage(box: Launched) -> Any:
    return holding(box).usage(box.walls.members(all_stats()))


async def walls(level: str, directory: str) -> dict[str, Any]:
    """What code in a box finds, and what it is refused."""
    secret = Path(directory, "secret")
    secret.write_text("secret")
    os.environ["SHOAL_TEST_MARKER"] = "secret"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        abstract = f"shoal-test-{os.getpid()}"
        unix.bind(f"\0{abstract}")
        unix.listen()
        port = str(tcp.getsockname()[1])
        spec = BoxSpec(env={"GREETING": "hi"}, hostname="cell")
        async with launched(level, spec) as box:
            hello = await box.hello()
            said = await box.run(INSIDE.read_text(), str(secret), port, abstract, str(os.getpid()))
    assert said.code == 0, said
    return {"hello": msgspec.to_builtins(hello), "inside": json.loads(said.out), "held": holding(box).held}


async def memory(level: str, _: str) -> dict[str, Any]:
    """A program takes more memory than its box may."""
    watch = BoxWatch(RealClock())
    async with launched(level, limits=BoxLimits(memory_mib=200)) as box:
        watch.add(box.walls)
        peak = usage(box).memory_peak_bytes
        said = await box.run("import time\nkept = []\nwhile True: kept.append(b'x' * (8 << 20)); time.sleep(0.02)")
        code = await box.ended()
        watch.discard(box.walls)
        return {"code": code, "said": said.code, "verdict": holding(box).verdict(), "peak_before": peak}


async def pids(level: str, _: str) -> dict[str, Any]:
    """A program starts more processes than its box may."""
    forks = (
        "import os, time\nn = 0\ntry:\n    while n < 400:\n        if os.fork() == 0: time.sleep(60); os._exit(0)\n"
        "        n += 1\nexcept OSError as error: print(n, error.errno, flush=True)\nelse: time.sleep(60)\n"
        "os.killpg(0, 9)"
    )
    watch = BoxWatch(RealClock())
    async with launched(level, limits=BoxLimits(pids=40)) as box:
        watch.add(box.walls)
        said = await box.run(forks)
        watch.discard(box.walls)
        return {"said": said.out.split(), "code": said.code, "held": holding(box).held["pids"]}


async def disk(level: str, _: str) -> dict[str, Any]:
    """A program fills what it can write to."""
    fill = (
        "import errno, json\nroom = {}\nfor place in ('/tmp/x', '/work/x', '/dev/shm/x'):\n    n = 0\n    try:\n"
        "        with open(place, 'wb', buffering=0) as file:\n"
        "            while n < 64: n += file.write(bytes(1 << 20)) >> 20\n"
        "    except OSError as error: room[place] = [n, errno.errorcode[error.errno]]\nprint(json.dumps(room))"
    )
    async with launched(level, limits=BoxLimits(tmp_mib=8)) as box:
        return dict(json.loads((await box.run(fill)).out))


async def cpu(level: str, _: str) -> dict[str, Any]:
    """A program takes all the processor time that it gets."""
    spin = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    async with launched(level, limits=BoxLimits(cpus=0.2)) as box:
        before, began = usage(box).cpu_s, time.monotonic()
        await box.run(spin)
        share = (usage(box).cpu_s - before) / (time.monotonic() - began)
        return {"share": share, "held": holding(box).held["cpus"]}


async def best_effort(level: str, _: str) -> dict[str, Any]:
    """A share of the processor, if it can be had."""
    told: list[Any] = []
    async with BoxRuntime(level, logs="none") as runtime:
        runtime.on_event("shoal.limit_unavailable")(told.append)
        box = await runtime.create_box("a", BoxSpec(limits=BoxLimits(cpus=0.5, best_effort=True)))
        held = box.stats().limits["cpus"]
    return {"held": held, "events": told}


async def freeze(level: str, _: str) -> dict[str, Any]:
    """A box is frozen and goes on; then it is frozen again and killed."""
    async with launched(level) as box:
        running = box.start(box.python, "-c", "while True: pass")
        await grows(box)
        box.walls.freeze()
        still = await stands(box)
        box.walls.thaw()
        await grows(box)
        said = await box.run("print('here')")
        box.walls.freeze()
        await stands(box)
        box.child.kill()
        code = await box.ended()
        running.cancel()
        return {"still": still, "said": said.out, "code": code}


async def grows(box: Launched) -> None:
    before = usage(box).cpu_s
    async with asyncio.timeout(20):
        while usage(box).cpu_s < before + 0.05:
            await asyncio.sleep(0.02)


async def stands(box: Launched) -> bool:
    async with asyncio.timeout(20):
        while True:
            before = usage(box).cpu_s
            await asyncio.sleep(0.3)
            if usage(box).cpu_s - before < 0.02:
                return True


async def signals(level: str, _: str) -> dict[str, Any]:
    """A signal reaches the processes in the box; what keeps its walls up stays to tell how the box ended."""
    async with launched(level) as box:
        await box.run("pass")
        box.walls.signal(signal.SIGUSR1)
        return {"code": await box.ended()}


async def hangup(level: str, _: str) -> dict[str, Any]:
    """A program becomes another one, which closes the channel of its box, and stays."""
    async with BoxRuntime(isolation=level) as runtime:
        box = await runtime.create_box("a")
        with contextlib.suppress(DeadAgentError):  # it may be gone before it is seen to have begun
            await box.run_script(CLOSES)
        await box.wait(timeout=20)
        return {"ended": box.exit_code}


async def mounts(level: str, directory: str) -> dict[str, Any]:
    """Files of the host in a box."""
    base = Path(directory)
    for name in ("read", "write"):
        (base / name).mkdir()
        (base / name).chmod(0o777)
        (base / name / "old").write_text("old")
    spec = BoxSpec(
        mounts=(Mount(base / "read", "/in/read"), Mount(str(base / "write"), "/out", writable=True)), cwd="/work/deep"
    )
    code = (
        "import os\nprint(open('/in/read/old').read(), os.getcwd())\nopen('/out/new', 'w').write('new')\n"
        "try: open('/in/read/new', 'w')\nexcept OSError as error: print(error.errno)"
    )
    async with launched(level, spec) as box:
        said = await box.run(code)
    return {"said": said.out.split(), "err": said.err, "kept": (base / "write" / "new").read_text()}


async def root(level: str, directory: str) -> dict[str, Any]:
    """A root directory, or an image, in place of the host's system."""
    is_image = Path(directory, "oci-layout").exists()
    async with launched(level, BoxSpec(image=directory) if is_image else BoxSpec(rootfs=directory)) as box:
        hello = await box.hello()
        said = await box.run("import os, sys; print(sys.executable, *map(os.path.exists, ('/marker', '/usr/bin/sh')))")
        return {"hello": msgspec.to_builtins(hello), "said": said.out.split(), "err": said.err}


async def network(level: str, _: str) -> dict[str, Any]:
    """The host's own network, when it is asked for."""
    code = (
        "import socket, sys\naddress = '127.0.0.1', int(sys.argv[1])\n"
        "with socket.create_connection(address, 5) as s: print(s.recv(5).decode())\n"
        "try: socket.socket(16, 3)\nexcept OSError as error: print(error.errno)"
    )
    server = await asyncio.start_server(lambda r, w: w.write(b"hello"), "127.0.0.1", 0)
    async with server, launched(level, BoxSpec(network=True)) as box:
        said = await box.run(code, str(server.sockets[0].getsockname()[1]))
    return {"said": said.out.split(), "err": said.err}


async def stay(level: str, count: str) -> dict[str, Any]:
    """Start boxes that work, the last of them frozen; say what there is of them, and wait to be killed."""
    boxes = [launched(level) for _ in range(int(count))]
    started = [await box.__aenter__() for box in boxes]
    for box in started:
        box.start("sleep", "1000")
        await box.run("pass")
    below = [(stat.pid, stat.started) for stat in descendants(os.getpid(), all_stats())]
    started[-1].walls.freeze()
    groups = [os.path.dirname(door) for box in started for door in holding(box).group.doors]
    print(json.dumps({"pids": below, "groups": groups, "directories": [str(b.directory) for b in started]}), flush=True)
    await asyncio.get_running_loop().create_future()
    return {}


async def sweep(level: str, _: str) -> dict[str, Any]:
    """Do what the next start does."""
    box_homes()
    return {"boxes": sweep_state()}


async def probed(level: str, _: str) -> dict[str, Any]:
    """What the probe finds, and what auto takes."""
    found = (await probe(level))[level]
    try:
        auto = await strongest()
    except ShoalError as error:
        auto = f"{type(error).__name__}: {error} {error.__notes__}"
    return {**msgspec.to_builtins(found), "auto": auto}


SCENARIOS: dict[str, Callable[[str, str], Awaitable[dict[str, Any]]]] = {
    scenario.__name__: scenario
    for scenario in (
        walls,
        memory,
        pids,
        disk,
        cpu,
        best_effort,
        freeze,
        signals,
        hangup,
        mounts,
        root,
        network,
        stay,
        sweep,
        probed,
    )
}


if __name__ == "__main__":
    name, level, argument = [*sys.argv[1:], ""][:3]
    print(json.dumps(asyncio.run(SCENARIOS[name](level, argument))))  # type: ignore[arg-type]
