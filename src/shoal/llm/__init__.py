"""Models, real and doubled; locks; conversations. The library that speaks to providers is loaded with the first real model.

The names are loaded when they are first used (PEP 562), each from the module that has it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shoal.llm.doubles import chaos, echo, recorded, scripted
    from shoal.llm.locks import Lock, LockManager, LockStats, get_lock, thread_safe_tool, with_lock
    from shoal.llm.messages import MessageStore, ThreadSafeMessageStore
    from shoal.llm.model import ChatMessage, Model, ModelDelta, ModelReply, ModelRequest, ToolCall, ToolSpec
    from shoal.llm.providers import open_model
    from shoal.llm.threads import ThreadStore
    from shoal.llm.users import UserContextStore

__all__ = [
    "ChatMessage",
    "Lock",
    "LockManager",
    "LockStats",
    "MessageStore",
    "Model",
    "ModelDelta",
    "ModelReply",
    "ModelRequest",
    "ThreadSafeMessageStore",
    "ThreadStore",
    "ToolCall",
    "ToolSpec",
    "UserContextStore",
    "chaos",
    "echo",
    "get_lock",
    "open_model",
    "recorded",
    "scripted",
    "thread_safe_tool",
    "with_lock",
]

_MODULES = {
    "doubles": ("chaos", "echo", "recorded", "scripted"),
    "locks": ("Lock", "LockManager", "LockStats", "get_lock", "thread_safe_tool", "with_lock"),
    "messages": ("MessageStore", "ThreadSafeMessageStore"),
    "model": ("ChatMessage", "Model", "ModelDelta", "ModelReply", "ModelRequest", "ToolCall", "ToolSpec"),
    "providers": ("open_model",),
    "threads": ("ThreadStore",),
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
