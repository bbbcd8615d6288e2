"""The registry as an ASGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from shoal.services.http.answers import no_route
from shoal.services.http.desk import Desk
from shoal.services.http.shapes import first_shape, second_shape
from shoal.services.tokens import Tokens

if TYPE_CHECKING:
    from shoal.services.services import Services

__all__ = ["application"]


def application(services: Callable[[], Services], tokens: Tokens, ttl: float) -> Starlette:
    """Return the registry of what *services* gives. See ``registry_app``."""
    desk = Desk(services, tokens, ttl)
    routes = [*first_shape(desk), *second_shape(desk)]
    return Starlette(routes=routes, exception_handlers={HTTPException: no_route})
