"""How a command reaches services: beside their runtime, on its store, or over HTTP, by a registry."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import typer

from shoal.boxes.logs import visible
from shoal.cli.nodes import is_alive
from shoal.cli.options import url_of
from shoal.client import Client
from shoal.errors import ConfigError, NotFound, RequestError
from shoal.services.codes import NO_WORKERS, NOT_FOUND, TIMEOUT, UNAUTHORIZED
from shoal.services.info import AgentRecord, AgentType
from shoal.services.strategies import ConsistentHash, Wish
from shoal.services.targets import Capability

if TYPE_CHECKING:
    from shoal.services.client import RegistryClient

__all__ = ["Question", "Reach", "Url", "Way", "answered", "json_of", "reach"]

NO_SUCH, REFUSED, TOO_LATE = 2, 4, 5
_NODE_GONE = "node gone"
_GONE = ("stopped", "failed", _NODE_GONE)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="The registry to ask, instead of a store of this machine.  [default: SHOAL_REGISTRY_URL]",
        show_default=False,
    ),
]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of whom it wants, and how they are reached."""

    url: str | None
    store: str | None
    target: str = ""
    capability: bool = False


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request from the command line. ``target`` is an instance, an id or a service, or with ``capability`` a word."""

    target: str
    payload: dict[str, Any]
    timeout: float
    key: str | None = None
    idempotent: bool = False
    capability: bool = False


class Reach(Protocol):
    """A way to services."""

    async def serving(self, words: Sequence[str]) -> list[AgentRecord]:
        """Return those that can be asked, and have all *words*, by registration."""
        ...

    async def known(self) -> list[AgentRecord]:
        """Return all that are known, those that do not run and clients among them."""
        ...

    def node_names(self) -> dict[str, str]:
        """Return the names of nodes by their ids, as far as this way tells them."""
        ...

    async def ask(self, question: Question) -> dict[str, Any]:
        """Ask a service and return its answer. Raises RequestError."""
        ...

    async def called(self, name: str) -> list[str]:
        """Return the instances alive of the service *name*; none when *name* is an instance or an id itself."""
        ...

    async def control(self, target: str, action: str, data: Any) -> Any:
        """Carry out a control action and return its answer. Raises RequestError."""
        ...


@asynccontextmanager
async def reach(url: str | None, store: str | None) -> AsyncIterator[Reach]:
    """Give the way that the command line says, else the registry at SHOAL_REGISTRY_URL, else the default store.

    Raises ConfigError: both are said, or there is no such store.
    """
    if url is not None and store is not None:
        raise ConfigError("--url and --store are two ways to the same: give one of them")
    if url is not None or (store is None and os.environ.get("SHOAL_REGISTRY_URL")):
        from shoal.services.client import RegistryClient

        async with RegistryClient(url, retries=1) as registry:
            yield _OverHttp(registry)
    else:
        async with Client(store=url_of(store)) as client:
            yield _Beside(client)


class _Beside:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def serving(self, words: Sequence[str]) -> list[AgentRecord]:
        services = self._client.services
        there = {record.uuid for record in services.directory.discover(words)}
        return [record for record in await services.control_of.current_records() if record.uuid in there]

    async def known(self) -> list[AgentRecord]:
        now = self._client.store.clock.now()
        alive = {node.node_id for node in self._client.list_nodes() if is_alive(node, now)}
        return [
            record if record.node is None or record.node in alive else msgspec.structs.replace(record, state=_NODE_GONE)
            for record in await self._client.services.control_of.current_records()
        ]

    def node_names(self) -> dict[str, str]:
        return {node.node_id: node.name for node in self._client.list_nodes()}

    async def ask(self, question: Question) -> dict[str, Any]:
        services = self._client.services
        target: Any = Capability(question.target) if question.capability else question.target
        if question.key is not None:
            target = _chosen(list(await services.find_instances(target)), question)
        return await services.request(
            target, question.payload, timeout=question.timeout, idempotent=question.idempotent
        )

    async def called(self, name: str) -> list[str]:
        directory = self._client.services.directory
        return [] if directory.get(name) is not None else [each.instance.name for each in directory.living(name)]

    async def control(self, target: str, action: str, data: Any) -> Any:
        return await self._client.services.control(target, action, data)


class _OverHttp:
    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    async def serving(self, words: Sequence[str]) -> list[AgentRecord]:
        return [record for record in await self._having(words) if _serves(record)]

    async def _having(self, words: Sequence[str]) -> list[AgentRecord]:
        return await (self._registry.discover(words) if words else self._registry.fetch_all())

    async def known(self) -> list[AgentRecord]:
        return await self._registry.fetch_all()

    def node_names(self) -> dict[str, str]:
        return {}

    async def ask(self, question: Question) -> dict[str, Any]:
        target: Any = question.target
        if question.capability or question.key is not None:
            target = _chosen(await self._candidates(question), question)
        return await self._registry.request(
            target, question.payload, timeout=question.timeout, idempotent=question.idempotent
        )

    async def _candidates(self, question: Question) -> list[AgentRecord]:
        if question.capability:
            return await self.serving([question.target])
        everybody = await self._registry.fetch_all()
        return [
            each
            for each in everybody
            if each.uuid == question.target
            or each.instance == question.target
            or (each.name == question.target and _serves(each))
        ]

    async def called(self, name: str) -> list[str]:
        everybody = await self._registry.fetch_all()
        if any(name in (each.uuid, each.instance) for each in everybody):
            return []
        return [each.instance for each in everybody if each.name == name and each.state not in _GONE]

    async def control(self, target: str, action: str, data: Any) -> Any:
        return await self._registry.control(target, action, data)


def _serves(record: AgentRecord) -> bool:
    return record.state == "running" and record.health > 0 and record.type is not AgentType.CLIENT


def _chosen(records: list[AgentRecord], question: Question) -> AgentRecord:
    """Return the instance to ask: that of the key, else the least loaded one. Raises RequestError: there is none."""
    if not records and question.capability:
        raise RequestError(NO_WORKERS, f"nobody can do {question.target!r:.80} now")
    if not records:
        raise NotFound(f"nobody is called {question.target!r:.80}")
    if question.key is None:
        return min(records, key=lambda record: record.load)
    chosen = ConsistentHash()(records, Wish(key=question.key))
    assert chosen is not None, "nobody is excluded"
    return chosen


async def answered(way: Way, work: Callable[[Reach], Awaitable[int]]) -> int:
    """Do *work* and return its exit code; a RequestError is told: its code, its message, its details as JSON."""
    async with reach(way.url, way.store) as services:
        try:
            return await work(services)
        except RequestError as error:
            text = f"{error.code}: {error.message}" if error.message else error.code
            print(f"shoal: {visible(' '.join(text.split()))}", file=sys.stderr)
            if error.details is not None:
                details = msgspec.json.format(msgspec.json.encode(error.details), indent=2).decode()
                print(indent(details, "  "), file=sys.stderr)
            if error.code == UNAUTHORIZED and isinstance(services, _OverHttp):
                print("  The token is taken from SHOAL_REGISTRY_TOKEN.", file=sys.stderr)
            if error.code == TIMEOUT:
                return TOO_LATE
            if error.code in (NOT_FOUND, NO_WORKERS) and not await _is_there(services, way):
                print("  `shoal discover --all` lists who is known.", file=sys.stderr)
                return NO_SUCH
            return REFUSED


async def _is_there(services: Reach, way: Way) -> bool:
    """Tell whether it was the target that said it, and not the way to it."""
    if way.capability:
        return bool(await services.serving([way.target]))
    return any(way.target in (each.uuid, each.instance, each.name) for each in await services.known())


def json_of(text: str) -> Any:
    """Return a JSON value: that in *text*, in a file for ``@FILE``, from standard input for ``-``. Raises ConfigError."""
    where = "it"
    if text == "-":
        text, where = sys.stdin.read(), "standard input"
    elif text.startswith("@"):
        where = text[1:201]
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"{where} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise ConfigError(
            f"{where} is no JSON: {error}" if where != "it" else f"{text[:60]!r} is no JSON: {error}",
            note="""Write it in single quotes, as '{"n": 2}', or @FILE, or - for standard input.""",
        ) from None
