"""Models by name: what stands in ``Agent(model=…)`` becomes a ``Model``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from types import ModuleType
from typing import Any

from shoal.errors import ConfigError, MissingExtraError
from shoal.errors.root import nearest
from shoal.kernel.usage import Usage
from shoal.llm.defaults import DEFAULT_MODELS
from shoal.llm.doubles import echo, recorded, scripted_file
from shoal.llm.model import Model, ModelDelta, ModelReply, ModelRequest
from shoal.llm.pricing import GivenPrice

__all__ = ["open_model"]


def open_model(
    model: object = None,
    *,
    provider: str | None = None,
    api_key: str | None = None,
    base_url: str | None = None,
    price: tuple[float, float] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Model:
    """Return the model that is meant.

    Args:
        model: ``"provider:name"``; a bare name beside *provider* or *base_url*; None beside *provider* for its default
            (``DEFAULT_MODELS``); a ``Model``; a model object of pydantic-ai; ``"echo"``, ``"scripted:FILE"`` or
            ``"recorded:FILE"``.
        provider: as pydantic-ai names it: ``"anthropic"``, ``"openai"`` …
        api_key: without it the provider's own environment variable is read; with *base_url* it may be left out, and
            then none is sent. It stands in no repr, log or error.
        base_url: any OpenAI-compatible server, spoken to at ``/chat/completions``.
        price: (input, output) in USD per million tokens; without it genai-prices is asked, by the server's URL.
        settings: the provider's own settings, for every call.

    Raises:
        ConfigError: no such provider (with the nearest), no key (with the variable to set), or parts that do not go
            together.
        MissingExtraError: a real model without the extra ``llm``.
        CassetteError: ``"recorded:FILE"`` cannot be read.
        TypeError, ValueError: *model* is nothing of that kind; *price* is no price.
    """
    own = dict(settings or {})
    if not isinstance(model, str) and model is not None:
        _alone(model, provider=provider, api_key=api_key, base_url=base_url)
        return _of_object(model, price, own)
    if provider is None and base_url is None and (double := _double(model or "")) is not None:
        return double if price is None else _Repriced(double, price)
    if api_key is not None and not api_key.strip():
        raise ConfigError("api_key is empty: leave it out to read the provider's environment variable")
    if base_url is not None:
        name = _name_at_url(model, provider)
        return _opening().at_base_url(base_url, name, api_key=api_key, price=price, settings=own)  # type: ignore[no-any-return]
    name = _name(model, provider)
    return _opening().by_name(*name, api_key=api_key, price=price, settings=own)  # type: ignore[no-any-return]


def _alone(model: object, **others: object) -> None:
    given = [f"{name}=" for name, value in others.items() if value is not None]
    if given:
        raise ConfigError(f"{' and '.join(given)} belong to a model's name; {type(model).__name__} is a model already")


def _of_object(model: object, price: tuple[float, float] | None, settings: Mapping[str, Any]) -> Model:
    if isinstance(model, Model):
        return model if price is None else _Repriced(model, price)
    theirs = sys.modules.get("pydantic_ai.models")
    if theirs is not None and isinstance(model, theirs.Model):
        return _opening().wrapped(model, price=price, settings=settings)  # type: ignore[no-any-return]
    raise TypeError(f"model={model!r:.80} ({type(model).__name__}): it must be a name, a Model or a pydantic-ai model")


def _double(model: str) -> Model | None:
    kind, _, path = model.partition(":")
    if model == "echo":
        return echo()
    if kind == "scripted":
        return scripted_file(path)
    if kind == "recorded":
        return recorded(path)
    return None


def _name(model: str | None, provider: str | None) -> tuple[str, str]:
    """Return provider and name."""
    if provider is not None:
        if model:
            return provider, model.removeprefix(f"{provider}:")
        if provider not in DEFAULT_MODELS:
            known = nearest(provider, DEFAULT_MODELS)
            having = ", ".join(sorted(DEFAULT_MODELS))
            raise ConfigError(
                f"provider {provider!r:.80} has no default model{known}: give model= (these have one: {having})"
            )
        return provider, DEFAULT_MODELS[provider]
    if not model:
        raise ConfigError("no model: give model='provider:name', or provider= for its default")
    first, colon, name = model.partition(":")
    if not colon or not first or not name:
        raise ConfigError(f"model={model!r:.80} names no provider: write 'provider:name', or give provider=")
    return first, name


def _name_at_url(model: str | None, provider: str | None) -> tuple[str, str]:
    """Return provider and name; a colon may belong to the name, as in ``llama3:8b``."""
    if not model:
        raise ConfigError("base_url needs model=, as that server names it")
    first, colon, name = model.partition(":")
    if provider is not None:
        return provider, model.removeprefix(f"{provider}:")
    if colon and name and first in _opening().known_providers():
        return first, name
    return "openai", model


def _opening() -> ModuleType:
    try:
        from shoal.llm import opening
    except ImportError as error:
        raise MissingExtraError("llm", "a real model") from error
    return opening


class _Repriced:
    """A model at another price."""

    def __init__(self, model: Model, price: tuple[float, float]) -> None:
        self.name = model.name
        self._model = model
        self._pricing = GivenPrice(price)

    async def request(self, request: ModelRequest) -> ModelReply:
        return await self._model.request(request)

    def stream(self, request: ModelRequest) -> AsyncIterator[ModelDelta | ModelReply]:
        return self._model.stream(request)

    def price(self, usage: Usage) -> int | None:
        return self._pricing.of(usage)
