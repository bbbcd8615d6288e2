"""``shoal up``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.boxes.logs import visible
from shoal.cli.ending import Interruption, in_loop, serving
from shoal.cli.options import Store, url_of
from shoal.cli.registry import listening
from shoal.cli.upview import UpView, view_of
from shoal.cli.views import standard_error
from shoal.config import shown
from shoal.observe.log import configure_logging
from shoal.runtime import AgentRuntime

if TYPE_CHECKING:
    from shoal.servicefile import ServiceFile

__all__ = ["up"]

File = Annotated[Path, typer.Argument(metavar="FILE.toml", help="The service file.")]
Plain = Annotated[bool, typer.Option("--plain", help="A line for each change, no live list.")]
Nodes = Annotated[
    int | None, typer.Option("--nodes", metavar="N", help="Spread the services over N nodes on this machine.")
]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Where --nodes keeps the files of its own servers.")]
Part = Annotated[str | None, typer.Option("--part", hidden=True)]
Name = Annotated[
    str | None,
    typer.Option("--name", metavar="NODE", help="What this node is called, once on a store.  [default: made up]"),
]


def up(
    file: File, plain: Plain = False, nodes: Nodes = None, data: Data = Path(".shoal-cluster"), part: Part = None,
    name: Name = None, store: Store = None,
) -> int:  # fmt: skip
    """Run the services that a file describes, until Ctrl-C or SIGTERM.

    The whole file is checked first. Each table [agents.NAME] becomes NAME_0, NAME_1 ..., in processes of their own
    unless it says otherwise; what dies is started again under its name, as its restart policy says. Names that live on
    the same store already are left alone: the next numbers are taken. With [registry] they are served over HTTP, too.

    With --nodes each of N processes has a part of the services; one that dies is started again. They need a store that
    they share: the one that the file, --store or SHOAL_STORE names, else a PostgreSQL with a NATS beside it, started here
    from the extra `cluster`, with its data kept in --data for the next time. Of these two, one that dies is started again
    on its data and port; all ends when it has died six times in a minute.

    The first signal lets requests under way end, within the grace of the file; the second ends all at once. When this
    process is killed, its services end within a second, and the next `shoal up` takes up their names and states. Ends
    with 1 when a service could not be started, or died more often than its policy allows.

    \b
    Example:
      shoal up services.toml
      shoal up services.toml --nodes 2
    """
    from shoal.servicefile import load_services

    services = load_services(file)
    if nodes is not None:
        return _spread(services, nodes, data, store)
    if part is not None:
        from shoal.cli.upnodes import part_of

        services = part_of(services, part)
    configure_logging("WARNING", stream=standard_error())
    logging.getLogger("shoal.services.manager").setLevel(logging.CRITICAL)  # the view tells the same
    url = services.store if store is None else url_of(store)
    runtime = AgentRuntime(store=url, bus=services.bus, resource_limits=services.limits, node=name)
    view = view_of(plain=plain)

    def serve_until(interruption: Interruption) -> Coroutine[Any, Any, int]:
        if part is None:
            interruption.saying = lambda: view.say("stopping: requests under way end; once more to end now")
        else:
            interruption.saying = str  # whoever started this part says so
        return serving(runtime, interruption, lambda asked: _up(runtime, services, view, asked))

    return in_loop(serve_until, signal.SIGINT, signal.SIGTERM)


def _spread(file: ServiceFile, number: int, data: Path, store: str | None) -> int:
    from shoal.cli.upnodes import check_number, up_nodes

    check_number(number, file)
    words = [str(file.path), *([] if store is None else ["--store", url_of(store)])]
    folder = None if file.named or store is not None else data

    async def serve_until(interruption: Interruption) -> int:
        interruption.saying = lambda: "stopping: requests under way end; once more to end now\n"
        return await up_nodes(file, number, words, folder, interruption.asks())

    return in_loop(serve_until, signal.SIGINT, signal.SIGTERM)


async def _up(runtime: AgentRuntime, file: ServiceFile, view: UpView, asked: asyncio.Event) -> int:
    from shoal.cli.crew import Crew

    registry = None
    if file.registry is not None:
        registry = await listening(runtime, file.registry.host, file.registry.port, file.registry.tokens)
    crew = Crew(runtime, file, view, _complain)
    draining = runtime.services.node.draining
    draining.told = lambda seconds: asked.set()
    with view:
        view.head(_head(file, shown(runtime.url), None if registry is None else registry.url))
        try:
            await crew.run(asked)
        finally:
            await draining.begin(file.grace)
            await crew.stop()
    if registry is not None:
        await registry.close()
    if not asked.is_set():
        _complain("no service is left that runs")
    return 1 if crew.failed else 0


def _head(file: ServiceFile, store: str, registry: str | None) -> str:
    words = [str(file.path), f"store {store.removeprefix('sqlite:///')}"]
    return "  ".join(words if registry is None else [*words, f"registry {registry}"])


def _complain(text: str) -> None:
    print(f"shoal: {visible(text)}", file=sys.stderr, flush=True)
