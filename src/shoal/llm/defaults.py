"""The model that a provider stands for when none is named: one table, a low price before everything else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["DEFAULT_MODELS"]

DEFAULT_MODELS: Mapping[str, str] = MappingProxyType(
    {
        "anthropic": "claude-haiku-4-5",
        "deepseek": "deepseek-flash",
        "google": "gemini-3.5-flash-lite",
        "groq": "openai/gpt-oss-120b",
        "mistral": "mistral-small-latest",
        "openai": "gpt-6-luna",
        "xai": "grok-4.3",
    }
)
"""Provider name to model name. Tests hold that pydantic-ai knows each and that genai-prices has its price."""
