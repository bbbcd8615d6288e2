"""Handing over to a teammate: a tool for each, whose call ends the chat."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from shoal.kernel.run import Handoff, Teammate
from shoal.llm.model import ToolCall, ToolSpec

__all__ = ["Transfers"]

PARAMETERS = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What the other is to do, in full."},
        "reason": {"type": "string", "description": "Why you hand over."},
    },
    "required": ["message"],
}
LONGEST = 64


class _Arguments(msgspec.Struct):
    message: str = ""
    reason: str = ""


class Transfers:
    """The tools ``transfer_to_<name>`` of one chat.

    Args:
        members: to whom it may hand over.
        allowed: only to these names; None: to all.
    """

    def __init__(self, members: Sequence[Teammate], allowed: Sequence[str] | None = None) -> None:
        self._targets: dict[str, Teammate] = {}
        for member in members:
            if allowed is None or member.name in allowed:
                self._targets[self._free_name(member.name)] = member
        self.specs = tuple(
            ToolSpec(name=name, description=_described(member), parameters=PARAMETERS)
            for name, member in self._targets.items()
        )

    def _free_name(self, name: str) -> str:
        base = f"transfer_to_{re.sub(r'[^A-Za-z0-9_-]', '_', name)}"[:LONGEST]
        found, number = base, 1
        while found in self._targets:
            number += 1
            found = f"{base[: LONGEST - 4]}_{number}"
        return found

    def handoff(self, call: ToolCall, agent_name: str) -> Handoff | None:
        """Return the handoff that *call* makes; None when it is another tool's."""
        member = self._targets.get(call.name)
        if member is None:
            return None
        try:
            given = msgspec.json.decode(call.arguments or "{}", type=_Arguments)
        except (msgspec.DecodeError, UnicodeError):
            given = _Arguments(message=call.arguments)
        return Handoff(to=member.name, message=given.message, reason=given.reason, from_agent=agent_name)


def _described(member: Teammate) -> str:
    role = f" ({member.role})" if member.role else ""
    return f"Hand over to {member.name}{role}: it goes on in your place, and sees the conversation so far."
