"""``shoal boxes``: probe, build-image, run, exec, logs."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shoal.cli.options import EPILOG, SETTINGS, Json, Store, url_of
from shoal.cli.show import document, line, table
from shoal.client import Client
from shoal.config import output_folder
from shoal.errors import BoxSpecError, ConfigError
from shoal.kernel.clock import RealClock

__all__ = ["app", "build_image", "exec_", "logs", "probe", "run"]

_HELP = """Run code in isolated boxes, and see which walls work on this machine.

\b
Example:
  shoal boxes probe
"""
_LEVEL = typer.Option("--isolation", metavar="LEVEL", help="process, bubblewrap, gvisor, microvm or auto.")
Level = Annotated[str, _LEVEL]
Memory = Annotated[float | None, typer.Option("--memory", metavar="MIB", help="The most resident memory, in MiB.")]
Network = Annotated[bool, typer.Option("--network", help="Give it the host's network; else it has none.")]
Mounts = Annotated[
    list[str] | None,
    typer.Option("--mount", metavar="SOURCE:TARGET[:rw]", help="Show it a file or directory of the host. Repeatable."),
]

Kernel = Annotated[
    Path | None,
    typer.Option(
        "--kernel", metavar="FILE.deb", help="A Debian package of a kernel; else one is downloaded with apt-get."
    ),
]

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, context_settings=SETTINGS, help=_HELP)


@app.command("probe", epilog=EPILOG)
def probe(json: Json = False) -> int:
    """Try every isolation level for real, and say what works and why not. Ends with 1 when no wall works.

    \b
    Example:
      shoal boxes probe
    """
    from shoal.boxes import probe as probe_levels

    found = asyncio.run(probe_levels())
    if json:
        document(found)
    else:
        rows = [
            (
                level,
                "yes" if one.works else "no",
                one.version,
                f"{one.took_ms:.0f} ms",
                one.detail if one.works else one.reason,
            )
            for level, one in found.items()
        ]
        table(("level", "works", "version", "took", "what was seen"), rows, empty="no level")
    return 0 if any(one.works for level, one in found.items() if level != "process") else 1


@app.command("build-image", epilog=EPILOG)
def build_image(kernel: Kernel = None, json: Json = False) -> None:
    """Build what microVMs start from (kernel, first file system, root), once, into the cache of this user.

    \b
    Example:
      shoal boxes build-image
    """
    from shoal.boxes.vmimage import build_image as build

    print("building the image of microVMs (a minute or so) ...", file=sys.stderr, flush=True)
    image = build(package=kernel)
    if json:
        document(image)
    else:
        print(f"kernel  {image.kernel}\ninitrd  {image.initrd}\nroot    {image.root}")


@app.command("run", epilog=EPILOG)
def run(
    file: Annotated[Path, typer.Argument(help="A Python file; it runs as __main__ in a fresh box.")],
    args: Annotated[list[str] | None, typer.Argument(help="Its arguments.")] = None,
    isolation: Level = "auto",
    memory: Memory = None,
    network: Network = False,
    mount: Mounts = None,
) -> int:
    """Run a Python file in a fresh box; ends with its exit code.

    \b
    Example:
      shoal boxes run untrusted.py --isolation gvisor --memory 256
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {str(file)!r}")

    async def work(box: Any) -> int:
        await box.run_script(file, *(args or ()))
        return int(await box.wait())

    return _in_box(isolation, memory, network, mount, work)


@app.command("exec", epilog=EPILOG)
def exec_(
    command: Annotated[list[str], typer.Argument(help="The command and its arguments, after --.")],
    isolation: Level = "auto",
    memory: Memory = None,
    network: Network = False,
    mount: Mounts = None,
    timeout: Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="When it is killed.")] = None,
) -> int:
    """Run a command in a fresh box; ends with its exit code. No shell: write ``sh -c '...'`` for one.

    \b
    Example:
      shoal boxes exec --isolation bubblewrap -- python3 -c 'import os; print(os.listdir("/"))'
    """

    async def work(box: Any) -> int:
        stdin = b"" if sys.stdin.isatty() else await asyncio.to_thread(sys.stdin.buffer.read)
        end = await box.exec(*command, stdin=stdin, timeout=timeout, max_output=64 << 20)
        sys.stdout.write(end.stdout)
        sys.stderr.write(end.stderr)
        return int(end.exit_code)

    return _in_box(isolation, memory, network, mount, work)


@app.command("logs", epilog=EPILOG)
def logs(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Its name or id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes; ends with Ctrl-C.")] = False,
    tail: Annotated[int | None, typer.Option(metavar="N", min=0, help="Only the last so many lines.")] = None,
    stream: Annotated[Literal["stdout", "stderr"] | None, typer.Option(help="Only one of them.")] = None,
    store: Store = None,
    json: Json = False,
) -> None:
    """Show what an agent within walls (process, bubblewrap, gvisor, microvm) has printed, oldest first.

    It is kept beside the store, and shown when the agent or its runtime has ended, too: the last 10,000 lines or 4 MiB
    unless its BoxSpec says otherwise. What it wrote to standard error comes on standard error. Control characters are
    made visible, but with --json.

    \b
    Example:
      shoal boxes logs worker --follow --tail 20
    """
    asyncio.run(_logs(url_of(store), agent, follow, tail, stream, json))


async def _logs(url: str, agent: str, follow: bool, tail: int | None, stream: str | None, json: bool) -> None:
    from shoal.boxes.keptlines import OutputReader
    from shoal.boxes.logs import visible

    async with Client(store=url, read_only=True) as client:
        known = client.get_agent_status(agent)
    folder = output_folder(url)
    assert folder is not None, "a client opens no store without a file"
    if known.isolation in ("inline", "thread"):
        raise ConfigError(
            f"agent {known.name!r} runs {known.isolation}, within its runtime: what it prints is its runtime's own output",
            note="What agents with isolation='process', 'bubblewrap', 'gvisor' or 'microvm' print is kept.",
        )

    def show(kept: Any) -> None:
        if json:
            line(kept)
        else:
            target = sys.stderr if kept.stream == "stderr" else sys.stdout
            print(visible(kept.text), end="" if kept.partial else "\n", file=target, flush=True)

    reader = OutputReader(folder / known.agent_id, stream)
    before = reader.last(tail)
    for kept in before:
        show(kept)
    if not follow:
        if not before and tail != 0:
            print(f"agent {known.name!r} has printed nothing{f' to {stream}' if stream else ''}", file=sys.stderr)
        return
    async for kept in reader.follow(RealClock()):
        if reader.lost:
            reader.lost = False
            print("shoal: it prints faster than this is read: lines are missing here", file=sys.stderr)
        show(kept)


def _in_box(isolation: str, memory: float | None, network: bool, mounts: list[str] | None, work: Any) -> int:
    from shoal.boxes import BoxRuntime, BoxSpec

    spec = BoxSpec(network=network, mounts=tuple(map(_mount, mounts or ())))

    async def main() -> int:
        async with BoxRuntime(isolation) as runtime:
            box = await runtime.create_box("box", spec, memory_mib=memory)
            doing: Coroutine[Any, Any, int] = work(box)
            code = await doing
            if box.reason and box.reason not in ("exit", "stopped"):
                print(f"shoal: the box ended: {box.reason}", file=sys.stderr)
            return code if code >= 0 else 128 - code

    return asyncio.run(main())


def _mount(text: str) -> Any:
    from shoal.boxes import Mount

    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target or mode not in ("", "ro", "rw"):
        raise BoxSpecError(f"--mount {text!r:.200} is not SOURCE:TARGET or SOURCE:TARGET:rw")
    return Mount(source, target, writable=mode == "rw")
