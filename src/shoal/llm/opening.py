"""From names to a model of pydantic-ai. Imported with the first real model only."""

from __future__ import annotations

import hashlib
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pydantic_ai.providers
from pydantic_ai.exceptions import UserError
from pydantic_ai.models import Model as PaiModel
from pydantic_ai.models import infer_model, known_model_names
from pydantic_ai.providers import infer_provider_class

from shoal.errors import ConfigError, MissingExtraError
from shoal.errors.root import nearest
from shoal.llm.live import Identity, LiveModel
from shoal.llm.pricing import GivenPrice, ListedPrice, Pricing, UnknownPrice

__all__ = ["at_base_url", "by_name", "known_providers", "wrapped"]

NO_KEY = "none-given"  # the SDK wants one; servers without keys ignore it
IN_THE_EXTRA = ("openai", "anthropic")
OPENAI_HOST = re.compile(r"https://([a-z0-9-]+\.)*(openai\.com|openai\.azure\.com)(:\d+)?(/|$)")


def known_providers() -> list[str]:
    """Return the names of all providers that pydantic-ai has."""
    files = {module.name.replace("_", "-") for module in pkgutil.iter_modules(pydantic_ai.providers.__path__)}
    named = {name.partition(":")[0] for name in known_model_names()}
    return sorted(
        name
        for name in files | named
        if not name.startswith(("-", "gateway")) and name not in ("test", "openai-compatible")
    )


def by_name(
    provider: str, model: str, *, api_key: str | None, price: tuple[float, float] | None, settings: Mapping[str, Any]
) -> LiveModel:
    """Return *model* of *provider*, whose key is *api_key* or stands in the provider's own environment variable.

    Raises:
        ConfigError: no such provider; no key; a package that only this provider needs is not installed.
        MissingExtraError: the extra ``llm`` is not installed.
    """

    def build() -> PaiModel:
        if api_key is None:
            return _once(infer_model(f"{provider}:{model}"))
        return _once(infer_model(f"{provider}:{model}", lambda name: infer_provider_class(name)(api_key=api_key)))  # type: ignore[call-arg]

    if provider not in known_providers() and not provider.startswith("gateway/"):
        raise ConfigError(f"unknown provider {provider!r:.80}{nearest(provider, known_providers())}")
    first = _checked(build, provider, keyed=api_key is not None)
    moved = f"{provider.upper().replace('-', '_')}_BASE_URL" in os.environ
    pricing = _pricing(price, ListedPrice(model, first.base_url, None if moved else provider))
    return _live(build, first, f"{provider}:{model}", pricing, settings)


def at_base_url(
    base_url: str,
    name: tuple[str, str],
    *,
    api_key: str | None,
    price: tuple[float, float] | None,
    settings: Mapping[str, Any],
) -> LiveModel:
    """Return the model *name* (provider, model) of the OpenAI-compatible server at *base_url*.

    Only *api_key* is sent there: a key in the environment is another server's. Such servers know ``max_tokens``; the
    newer word for it is kept for OpenAI's own.
    """
    if not re.match(r"https?://[^/\s]", base_url):
        raise ConfigError(f"base_url={base_url!r:.200}: it must be an URL such as 'http://127.0.0.1:8000/v1'")
    try:
        from pydantic_ai.models.openai import OpenAIChatModel
        from pydantic_ai.profiles.openai import OpenAIModelProfile
        from pydantic_ai.providers.openai import OpenAIProvider
    except ImportError as error:
        raise MissingExtraError("llm", "a model at base_url") from error
    own = OPENAI_HOST.match(base_url) is not None
    profile = OpenAIModelProfile(openai_chat_supports_max_completion_tokens=own, openai_chat_supports_allowed_tools=own)

    def build() -> PaiModel:
        server = OpenAIProvider(base_url=base_url, api_key=api_key or NO_KEY)
        return _once(OpenAIChatModel(name[1], provider=server, profile=None if own else profile))

    first = build()
    return _live(build, first, ":".join(name), _pricing(price, ListedPrice(name[1], first.base_url)), settings)


def wrapped(model: PaiModel, *, price: tuple[float, float] | None, settings: Mapping[str, Any]) -> LiveModel:
    """Return a model object of pydantic-ai as ours; it is used as it is, whichever loop calls."""
    try:
        url = model.base_url
    except NotImplementedError:
        url = None
    pricing = _pricing(price, ListedPrice(model.model_name, url) if url else UnknownPrice())
    return _live(lambda: model, model, f"{model.system}:{model.model_name}", pricing, settings)


def _once(model: PaiModel) -> PaiModel:
    """Tell the SDK's client to try nothing again by itself."""
    client: Any = getattr(model, "client", None)
    if isinstance(getattr(client, "max_retries", None), int):
        client.max_retries = 0
    return model


def _pricing(price: tuple[float, float] | None, listed: Pricing) -> Pricing:
    return listed if price is None else GivenPrice(price)


def _live(
    build: Callable[[], PaiModel], first: PaiModel, name: str, pricing: Pricing, settings: Mapping[str, Any]
) -> LiveModel:
    key = getattr(getattr(first, "client", None), "api_key", None)
    secrets = (key,) if isinstance(key, str) and key and key != NO_KEY else ()
    fingerprint = hashlib.sha256("".join(secrets).encode()).hexdigest()[:16]
    place = f"{name.partition(':')[0]} {first.base_url} {fingerprint}"
    return LiveModel(first, build, Identity(name, place, secrets), pricing, settings)


def _checked(build: Callable[[], PaiModel], provider: str, *, keyed: bool) -> PaiModel:
    """Build once, and say in our words what is missing."""
    try:
        return build()
    except ImportError as error:
        if provider in IN_THE_EXTRA:
            raise MissingExtraError("llm", f"provider {provider!r}") from error
        raise ConfigError(f"provider {provider!r} needs a package that is not installed: {error}") from error
    except _refusals() as error:
        text = str(error)
    if keyed:
        raise ConfigError(f"provider {provider!r} cannot be used with api_key alone: see its environment variables")
    variables = re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", text)
    if not variables:
        raise ConfigError(f"provider {provider!r}: {text:.500}")
    told = "has no key: set" if "KEY" in variables[0] or "TOKEN" in variables[0] else "is not set up: set"
    raise ConfigError(f"provider {provider!r} {told} the environment variable {variables[0]}, or give api_key=")


def _refusals() -> tuple[type[Exception], ...]:
    """What a provider, or an SDK that is loaded, raises when it does not like what it is given."""
    sdks = [(sys.modules.get("openai"), "OpenAIError"), (sys.modules.get("anthropic"), "AnthropicError")]
    found: list[type[Exception]] = [getattr(module, name) for module, name in sdks if module is not None]
    return (UserError, TypeError, ValueError, *found)
