"""Agents and their tools; models, real and doubled; locks; conversations.

The names are loaded when they are first used (PEP 562), each from the module that has it. The library that speaks to
providers is loaded with the first real model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.llm.agent import Agent
    from shoal.llm.doubles import chaos, echo, recorded, scripted
    from shoal.llm.locks import Lock, LockManager, LockStats, get_lock, thread_safe_tool, with_lock
    from shoal.llm.mcp import MCPTools
    from shoal.llm.memory import MemoryStrategy
    from shoal.llm.messages import MessageStore, ThreadSafeMessageStore
    from shoal.llm.model import ChatMessage, Model, ModelDelta, ModelReply, ModelRequest, ToolCall, ToolSpec
    from shoal.llm.providers import open_model
    from shoal.llm.results import ChatResult, StreamEvent
    from shoal.llm.streams import ChatStream
    from shoal.llm.threads import ThreadStore
    from shoal.llm.toolcontext import ToolContext
    from shoal.llm.tools import Tool, ToolRecord, tool
    from shoal.llm.users import UserContextStore

__all__ = [
    "Agent",
    "ChatMessage",
    "ChatResult",
    "ChatStream",
    "Lock",
    "LockManager",
    "LockStats",
    "MCPTools",
    "MemoryStrategy",
    "MessageStore",
    "Model",
    "ModelDelta",
    "ModelReply",
    "ModelRequest",
    "StreamEvent",
    "ThreadSafeMessageStore",
    "ThreadStore",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolRecord",
    "ToolSpec",
    "UserContextStore",
    "chaos",
    "echo",
    "get_lock",
    "open_model",
    "recorded",
    "scripted",
    "thread_safe_tool",
    "tool",
    "with_lock",
]

_MODULES = {
    "agent": ("Agent",),
    "doubles": ("chaos", "echo", "recorded", "scripted"),
    "locks": ("Lock", "LockManager", "LockStats", "get_lock", "thread_safe_tool", "with_lock"),
    "mcp": ("MCPTools",),
    "memory": ("MemoryStrategy",),
    "messages": ("MessageStore", "ThreadSafeMessageStore"),
    "model": ("ChatMessage", "Model", "ModelDelta", "ModelReply", "ModelRequest", "ToolCall", "ToolSpec"),
    "providers": ("open_model",),
    "results": ("ChatResult", "StreamEvent"),
    "streams": ("ChatStream",),
    "threads": ("ThreadStore",),
    "toolcontext": ("ToolContext",),
    "tools": ("Tool", "ToolRecord", "tool"),
    "users": ("UserContextStore",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'shoal.llm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"shoal.llm.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
