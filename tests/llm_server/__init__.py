"""A real HTTP server on loopback that speaks as OpenAI and as Anthropic do, and says what a test told it to."""

from __future__ import annotations

from tests.llm_server.behaviour import Behaviour, call, failing, malformed, say
from tests.llm_server.server import LlmServer, Seen

__all__ = ["Behaviour", "LlmServer", "Seen", "call", "failing", "malformed", "say"]
