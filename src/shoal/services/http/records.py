"""What both shapes of routes do with records."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from shoal.errors import NotFound, RequestError
from shoal.kernel.trace import in_span, parse_traceparent
from shoal.services import codes
from shoal.services.http.answers import answered
from shoal.services.http.callers import while_there
from shoal.services.http.desk import Visit
from shoal.services.http.fields import Wanted, page, read_ask, read_change, read_info, read_order, read_wanted
from shoal.services.info import AgentRecord
from shoal.services.tokens import Role

__all__ = ["ask", "health", "listed", "look", "matching", "order", "register", "renew", "withdraw"]


async def register(visit: Visit) -> tuple[AgentRecord, str]:
    """Register the agent that the body describes; return its record and the token that owns it."""
    info, address = read_info(await visit.body())
    other = next(visit.services.directory.living(info.name), None)
    if other is None and info.exclusive:  # its instance is called as it is: none may be found in another's place
        other = visit.services.directory.get(info.name)
    if other is not None and (info.exclusive or other.info.get("exclusive")):
        raise RequestError(codes.AGENT_EXISTS, f"an agent of the exclusive name {info.name!r} is there")
    visit.outside.begin_sweeping()
    return await visit.outside.register(info, address, visit.ttl)


async def renew(visit: Visit) -> AgentRecord:
    """Prolong the lease of an agent, and note what it tells of itself."""
    change = read_change(await visit.body(needed=False))
    visit.outside.begin_sweeping()
    return await visit.outside.renew(_owned(visit), visit.owner_token, change, admin=visit.role is Role.ADMIN)


async def withdraw(visit: Visit) -> Response:
    """Take an agent out."""
    await visit.outside.withdraw(_owned(visit), visit.owner_token, admin=visit.role is Role.ADMIN)
    return answered(None, 204)


def _owned(visit: Visit) -> str:
    """Return the id of an agent from outside. One of a node has no owner over HTTP: its node renews and ends it."""
    known = visit.outside.get(visit.who)
    if known is not None:
        return known.uuid
    if visit.services.directory.get(visit.who) is not None:
        raise RequestError(
            codes.UNAUTHORIZED, "its node owns this record; end the agent by the control action shutdown"
        )
    raise NotFound(f"nobody is called {visit.who[:80]!r}, or its lease is over")


async def matching(visit: Visit, parameter: str, limit: int) -> tuple[list[AgentRecord], Wanted]:
    """Return all agents that have the words of *parameter*, and which part of them is asked for."""
    wanted = read_wanted(visit.request.query_params, needed=parameter, limit=limit)
    visit.outside.begin_sweeping()
    return await visit.services.discover(wanted.words, type=wanted.type), wanted


async def listed(visit: Visit) -> Response:
    """Answer with all agents, those that cannot be asked among them."""
    wanted = read_wanted(visit.request.query_params)
    found = [each for each in visit.services.records() if wanted.type is None or each.type == wanted.type]
    return answered(page(found, wanted))


def look(visit: Visit) -> AgentRecord:
    """Return the record of the agent that the path names. Raises NotFound."""
    known = visit.services.directory.get(visit.who)
    if known is not None:
        return known.record(visit.services.node, visit.outside.clock.monotonic())
    found = visit.outside.get(visit.who)
    if found is None:
        raise NotFound(f"nobody is called {visit.who[:80]!r}")
    return found


async def health(visit: Visit) -> Response:
    """Answer with how an agent is: one of a node is asked, one from outside has told it with its last renewal."""
    record = look(visit)
    if record.node is None and visit.outside.get(record.uuid) is not None:
        told: dict[str, Any] = {"ok": record.health > 0, "state": record.state, "health": record.health}
        return answered(told, 200 if told["ok"] else 503)
    try:
        told = await visit.services.control(record.uuid, "health")
    except RequestError as error:
        told = {"ok": False, "state": record.state, "error": error.message, "code": error.code}
    return answered(told, 200 if told["ok"] else 503)


async def ask(visit: Visit) -> Response:
    """Send a request to an agent and answer with its response. The trace of a header ``traceparent`` goes on."""
    given = read_ask(await visit.body())
    payload = given.pop("payload")
    parent = parse_traceparent(visit.request.headers.get("traceparent", ""))
    with in_span(visit.outside.clock, "http request", parent=parent) as span:
        answer = await while_there(visit.request, visit.services.request(visit.who, payload, **given))
    return answered(answer, headers={"traceparent": span.traceparent})


async def order(visit: Visit) -> Response:
    """Carry out a control action on an agent."""
    action, data = read_order(await visit.body())
    answer = await visit.services.control(visit.who, action, data)
    return answered({"type": "control", "action": "response", "data": answer})
