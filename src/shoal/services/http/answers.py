"""Answers of the registry: JSON, and an error as ``{error, code, details}`` with the status that its code has."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shoal.errors import (
    AgentNameTakenError,
    InfoError,
    LeaseLostError,
    RegistryUnavailableError,
    RequestError,
    RuntimeStateError,
    StoreError,
    ValidationFailed,
    VersionConflictError,
)
from shoal.services import codes
from shoal.services.requests import error_payload

__all__ = ["answered", "failed", "no_route"]

log = logging.getLogger("shoal.services.http")

STATUS = {
    codes.AGENT_DIED: 502,
    codes.AGENT_EXISTS: 409,
    codes.BULKHEAD_FULL: 503,
    codes.CANCELLED: 503,
    codes.CHAIN_TOO_DEEP: 508,
    codes.CIRCUIT_OPEN: 503,
    codes.DEADLOCK: 508,
    codes.DRAINING: 503,
    codes.EXECUTION_ERROR: 500,
    codes.INVALID_ACTION: 400,
    codes.INVALID_FORMAT: 400,
    codes.INVALID_OPERATION: 400,
    codes.MAILBOX_FULL: 503,
    codes.MISSING_FIELD: 400,
    codes.NOT_A_SERVER: 409,
    codes.NOT_FOUND: 404,
    codes.NO_WORKERS: 503,
    codes.POOL_FULL: 503,
    codes.RATE_LIMITED: 429,
    codes.REGISTRY_UNAVAILABLE: 503,
    codes.TIMEOUT: 504,
    codes.TOO_LARGE: 413,
    codes.TYPE_NOT_ALLOWED: 403,
    codes.UNAUTHORIZED: 403,
    codes.VALIDATION_ERROR: 400,
    codes.WORKER_ERROR: 502,
}
OWN_WORD = 422
"""For a service's own code, SERVICE_ERROR among them: the request was understood, and is refused."""
HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def answered(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return *value* as an answer in JSON; None is one without a body."""
    body = None if value is None else msgspec.json.encode(value)
    kind = None if value is None else "application/json"
    return Response(body, status, HEADERS | (headers or {}), kind)


def failed(error: Exception, status: int | None = None) -> Response:
    """Return an error as an answer. One that nobody foresaw is logged, and its text stays here."""
    told = _as_request_error(error)
    if told is None:
        log.error("a request over HTTP failed", exc_info=error)
        told, status = RequestError(codes.EXECUTION_ERROR, "the registry failed; its log says why"), 500
    payload = {"details": None, **error_payload(told)}
    status = status or STATUS.get(told.code, OWN_WORD)
    return answered(payload, status, {"www-authenticate": "Bearer"} if status == 401 else None)


def _as_request_error(error: Exception) -> RequestError | None:
    match error:
        case RequestError():
            return error
        case InfoError():
            return ValidationFailed(str(error), [_violation(fault) for fault in error.faults])
        case AgentNameTakenError():
            return RequestError(codes.AGENT_EXISTS, f"an agent of the exclusive name {error.name!r} is there")
        case VersionConflictError():
            return RequestError(codes.REGISTRY_UNAVAILABLE, "too many change this record at once")
        case RegistryUnavailableError() | StoreError() | RuntimeStateError() | LeaseLostError():
            log.warning("the registry cannot be asked: %s", error)  # a store's own words may say where it is
            return RequestError(codes.REGISTRY_UNAVAILABLE, "the registry cannot be asked now")
    return None


def _violation(fault: str) -> dict[str, str]:
    path, colon, message = fault.partition(": ")
    return {"path": path.strip("'"), "message": message} if colon else {"path": "", "message": fault}


async def no_route(request: Request, error: Exception) -> Response:
    """Answer a request to no route, or by a method that its route has not."""
    assert isinstance(error, HTTPException)
    code = codes.NOT_FOUND if error.status_code == 404 else codes.INVALID_OPERATION
    return failed(RequestError(code, f"{request.method} {request.url.path[:200]}: {error.detail}"), error.status_code)
