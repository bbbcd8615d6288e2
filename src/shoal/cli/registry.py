"""``shoal registry``: serve."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shoal.cli.ending import Interruption, in_loop, serving, until_asked
from shoal.cli.options import EPILOG, SETTINGS, Store, url_of
from shoal.observe.log import configure_logging
from shoal.runtime import AgentRuntime

if TYPE_CHECKING:
    from shoal.services.http.server import HttpServing

__all__ = ["app", "listening", "serve"]

_HELP = """The registry: services over HTTP.

\b
Example:
  shoal registry serve
"""

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, context_settings=SETTINGS, help=_HELP)

Host = Annotated[str, typer.Option(metavar="NAME", help="Where it listens; without tokens loopback only.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="0 is any that is free.")]
TokensFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A line ROLE:TOKEN for each.  [default: what SHOAL_REGISTRY_TOKENS says]"),
]


@app.command("serve", epilog=EPILOG)
def serve(host: Host = "127.0.0.1", port: Port = 4567, tokens: TokensFile = None, store: Store = None) -> int:
    """Serve the registry of a store until Ctrl-C or SIGTERM: who is there, requests and control over HTTP.

    Without tokens programs of this machine may look and register. The roles of tokens are read, write (register, ask)
    and admin (control); the file of tokens must be this user's alone. It works beside the runtimes on the same store,
    and can be started anew at any time. Needs the extra http.

    \b
    Example:
      shoal registry serve --port 4567 --store shoal.db
    """
    from shoal.servicefile import check_address, load_tokens

    known = load_tokens(tokens)
    check_address(host, known)
    configure_logging("WARNING")
    runtime = AgentRuntime(store=url_of(store))

    async def work(asked: asyncio.Event) -> int:
        registry = await listening(runtime, host, port, known)
        print(f"registry at {registry.url}", flush=True)
        await until_asked(runtime, asked)
        await registry.close()
        return 0

    def serve_until(interruption: Interruption) -> Coroutine[Any, Any, int]:
        interruption.saying = lambda: "stopping: requests under way end; once more to end now\n"
        return serving(runtime, interruption, work)

    return in_loop(serve_until, signal.SIGINT, signal.SIGTERM)


async def listening(runtime: AgentRuntime, host: str, port: int, tokens: Mapping[str, str]) -> HttpServing:
    """Begin to serve the registry. Raises OSError: the port is taken; and what ``serve_http`` raises."""
    try:
        return await runtime.services.serve_http(host, port, tokens)
    except OSError as error:
        reason = error.strerror or error
        raised = OSError(f"the registry cannot be served on {host}, port {port}: {reason}")
        raised.add_note("Another registry may be there; name another port.")
        raise raised from error
