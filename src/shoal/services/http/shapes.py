"""The routes: the first shape is that of agent99's registry, the second is by resource."""

from __future__ import annotations

import msgspec
from starlette.responses import Response
from starlette.routing import Route

from shoal.services.http import records
from shoal.services.http.answers import answered
from shoal.services.http.desk import Desk, Visit
from shoal.services.http.fields import LARGEST_PAGE, PAGE, page
from shoal.services.tokens import Role

__all__ = ["first_shape", "second_shape"]


def first_shape(desk: Desk) -> list[Route]:
    """Return the routes of the first shape."""
    return [
        Route("/healthcheck", desk.lets(Role.READ, _healthcheck), methods=["GET"]),
        Route("/register", desk.lets(Role.WRITE, _register), methods=["POST"]),
        Route("/register/{who:path}", desk.lets(Role.WRITE, _renew), methods=["PUT"]),
        Route("/discover", desk.lets(Role.READ, _discover), methods=["GET"]),
        Route("/withdraw/{who:path}", desk.lets(Role.WRITE, records.withdraw), methods=["DELETE"]),
        Route("/", desk.lets(Role.READ, records.listed), methods=["GET"]),
    ]


def second_shape(desk: Desk) -> list[Route]:
    """Return the routes of the second shape. An id may have slashes, so what follows one stands before it."""
    return [
        Route("/health", desk.lets(Role.READ, _health), methods=["GET"]),
        Route("/agents", desk.lets(Role.READ, records.listed), methods=["GET"]),
        Route("/agents", desk.lets(Role.WRITE, _create), methods=["POST"]),
        Route("/agents/discover", desk.lets(Role.READ, _search), methods=["GET"]),
        Route("/agents/{who:path}/lease", desk.lets(Role.WRITE, _prolong), methods=["PUT"]),
        Route("/agents/{who:path}/health", desk.lets(Role.READ, records.health), methods=["GET"]),
        Route("/agents/{who:path}/request", desk.lets(Role.WRITE, records.ask, always=True), methods=["POST"]),
        Route("/agents/{who:path}/control", desk.lets(Role.ADMIN, records.order, always=True), methods=["POST"]),
        Route("/agents/{who:path}", desk.lets(Role.READ, _one), methods=["GET"]),
        Route("/agents/{who:path}", desk.lets(Role.WRITE, records.withdraw), methods=["DELETE"]),
    ]


# -- the first shape


async def _healthcheck(visit: Visit) -> Response:
    return answered({"agent_count": len(visit.services.records())})


async def _register(visit: Visit) -> Response:
    record, token = await records.register(visit)
    return answered({"uuid": record.uuid, "owner_token": token, "ttl": visit.ttl}, 201)


async def _renew(visit: Visit) -> Response:
    record = await records.renew(visit)
    return answered({"uuid": record.uuid, "ttl": visit.ttl, "lease_expires_at": record.lease_expires_at})


async def _discover(visit: Visit) -> Response:
    found, wanted = await records.matching(visit, "capability", LARGEST_PAGE)
    return answered(page(found, wanted))


# -- the second shape


async def _health(visit: Visit) -> Response:
    uptime = visit.services.node.metrics()["uptime_seconds"]
    return answered({"status": "ok", "uptime": uptime, "agent_count": len(visit.services.records())})


async def _create(visit: Visit) -> Response:
    record, token = await records.register(visit)
    return answered({**msgspec.structs.asdict(record), "owner_token": token, "ttl": visit.ttl}, 201)


async def _prolong(visit: Visit) -> Response:
    return answered(await records.renew(visit))


async def _search(visit: Visit) -> Response:
    found, wanted = await records.matching(visit, "capabilities", PAGE)
    told = {"agents": page(found, wanted), "total_count": len(found), "matching_capabilities": wanted.words}
    return answered(told)


async def _one(visit: Visit) -> Response:
    return answered(records.look(visit))
