"""``shoal chat``: talk with a model, in one answer or in a conversation."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from shoal.cli.options import Json, url_of
from shoal.errors import ModelError

if TYPE_CHECKING:
    from shoal.llm import Agent, ChatResult

__all__ = ["chat"]


def chat(
    message: Annotated[str | None, typer.Argument(metavar="MESSAGE", help="What it is asked.")] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="PROVIDER:NAME", help="Also echo, scripted:FILE, recorded:FILE.")
    ] = "echo",
    role: Annotated[str, typer.Option(metavar="TEXT", help="What the agent is.")] = "",
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="Any OpenAI-compatible server.")] = None,
    thread: Annotated[
        str | None, typer.Option(metavar="ID", help="A conversation that is kept; needs --store.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where conversations are kept, as sqlite:///FILE or a plain path."),
    ] = None,
    json: Json = False,
) -> None:
    """Talk with a model. The answer comes as it is written; what it cost goes to standard error.

    Without a MESSAGE, each line of standard input is one, until its end. In a terminal an error of the model is told, and
    the conversation goes on; else it ends the command.

    \b
    Example:
      shoal chat --model anthropic:claude-haiku-4-5 "Why is the sky blue?"
      shoal chat --model openai:gpt-5-mini --role "A patient teacher"
    """
    if thread is not None and store is None:
        raise ValueError("--thread needs --store: a conversation is kept in a store")
    asyncio.run(_chat(message, model, role, base_url, thread, store, json))


async def _chat(
    message: str | None,
    model: str,
    role: str,
    base_url: str | None,
    thread: str | None,
    store: str | None,
    json: bool,
) -> None:
    from shoal.client import open_store
    from shoal.llm import Agent, MessageStore

    async with contextlib.AsyncExitStack() as stack:
        kept: Any = None
        if store is not None:
            kept = MessageStore(await stack.enter_async_context(open_store(url_of(store))))
        agent: Agent[Any] = Agent(name="Assistant", role=role, model=model, base_url=base_url, store=kept)
        if message is not None:
            await _answer(agent, message, thread, json)
            return
        while line := await asyncio.to_thread(_next_line):
            if line.strip():
                await _answer_line(agent, line.strip(), thread, json)


def _next_line() -> str:
    if sys.stdin.isatty():
        print("> ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


async def _answer_line(agent: Agent[Any], message: str, thread: str | None, json: bool) -> None:
    """Answer a line of standard input. Whoever sits at a terminal is told of an error, and asks again or something else."""
    try:
        await _answer(agent, message, thread, json)
    except ModelError as error:
        if not sys.stdin.isatty():
            raise
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        print(f"\nshoal: {' '.join(str(error).split())}{notes}", file=sys.stderr, flush=True)


async def _answer(agent: Agent[Any], message: str, thread: str | None, json: bool) -> None:
    stream = agent.stream(message, thread_id=thread)
    shown = ""
    async for event in stream:
        if event.kind == "restart":
            shown = ""
        if event.kind == "text" and not json:
            print(event.text, end="", flush=True)
            shown += event.text
    result = await stream.result()
    if json:
        print(msgspec.json.encode(result).decode(), flush=True)
        return
    print("" if shown else result.content, flush=True)
    print(_cost(result), file=sys.stderr, flush=True)


def _cost(result: ChatResult[Any]) -> str:
    used = result.usage
    cost = "cost not known" if used.unpriced_calls else f"${used.cost:.6f}"
    return f"[{result.model}: {used.input_tokens} + {used.output_tokens} tokens, {cost}]"
