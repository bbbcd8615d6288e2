"""The errors of pydantic-ai as ours. Imported with the first real model only."""

from __future__ import annotations

import httpx2
from pydantic_ai import exceptions as theirs

from shoal.errors import (
    ContentFilteredError,
    ContextTooLongError,
    ModelAuthError,
    ModelError,
    ModelRateLimitError,
    ModelRejectedError,
    ModelTimeoutError,
    ModelUnavailableError,
)

__all__ = ["CAUGHT", "fault_of"]

CAUGHT = (theirs.AgentRunError, theirs.UserError, httpx2.HTTPError, httpx2.StreamError)
"""What a call of a model may raise."""

TRANSIENT = (
    theirs.ModelServerError,
    theirs.ModelUnavailableError,
    theirs.ModelConnectionError,
    theirs.UnexpectedModelBehavior,  # an answer in a form that is not the provider's
    httpx2.HTTPError,
    httpx2.StreamError,
)
TRANSIENT_STATUSES = (408, 409, 425)
FILTER_CODES = ("content_filter", "content_policy_violation")
LONGEST = 2000


def fault_of(error: BaseException, *, model: str, secrets: tuple[str, ...]) -> ModelError:
    """Return our error for *error*, which a call of *model* raised; its text holds none of *secrets*."""
    text = f"{model}: {_cleaned(str(error) or type(error).__name__, secrets)}"
    status = getattr(error, "status_code", None)
    if isinstance(error, theirs.ModelRateLimitError):
        return ModelRateLimitError(text, model=model, retry_after=error.retry_after)
    if isinstance(error, theirs.ModelRequestTimeout):
        return ModelTimeoutError(text, model=model)
    if isinstance(error, theirs.ModelAuthenticationError):
        return ModelAuthError(text, model=model, note="Check the key, and whether it may use this model.")
    if isinstance(error, theirs.ModelContextWindowExceededError):
        return ContextTooLongError(text, model=model)
    if isinstance(error, theirs.ContentFilterError) or getattr(error, "provider_error_code", None) in FILTER_CODES:
        return ContentFilteredError(text, model=model)
    if isinstance(error, TRANSIENT) or type(error) is theirs.ModelAPIError or status in TRANSIENT_STATUSES:
        return ModelUnavailableError(text, model=model)
    return ModelRejectedError(text, model=model, status=status)


def _cleaned(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [… {len(text) - LONGEST} characters left out …]"
