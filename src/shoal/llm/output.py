"""Typed output: a tool by which the model must answer, and what it said as the type that was asked for."""

from __future__ import annotations

from typing import Any

import msgspec

from shoal.llm.model import ModelReply, ToolCall, ToolSpec
from shoal.llm.schemas import convert, json_schema, reason_of

__all__ = ["OUTPUT_TOOL", "Output", "Unfit"]

OUTPUT_TOOL = "final_output"
WRAPPED = "value"  # providers want an object: what is none stands in this field of one


class Unfit(Exception):
    """What a model gave is no such output. ``text`` is what it gave, ``call`` how, None: as text."""

    def __init__(self, text: str, reason: str, call: ToolCall | None) -> None:
        self.text = text
        self.reason = reason
        self.call = call
        super().__init__(reason)


class Output:
    """The output of one agent.

    Args:
        kind: a msgspec Struct, dataclass, TypedDict, builtin type or pydantic model.

    Raises:
        TypeError: it has no JSON schema.
    """

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        schema = json_schema(kind)
        self._wrapped = schema.get("type") != "object"
        if self._wrapped:
            definitions = schema.pop("$defs", None)
            schema = {"type": "object", "properties": {WRAPPED: schema}, "required": [WRAPPED]}
            if definitions:
                schema["$defs"] = definitions
        self.spec = ToolSpec(name=OUTPUT_TOOL, description="Give the final answer in this form.", parameters=schema)

    def read(self, reply: ModelReply) -> tuple[Any, str] | None:
        """Return the output of *reply* and its JSON text; None when the reply only asks for other tools.

        Raises Unfit.
        """
        for call in reply.tool_calls:
            if call.name == OUTPUT_TOOL:
                return self._of(call.arguments, call), call.arguments
        if reply.tool_calls:
            return None
        return self._of(reply.text, None), reply.text

    def _of(self, text: str, call: ToolCall | None) -> Any:
        try:
            value = msgspec.json.decode(text.encode("utf-8", "surrogatepass"))
        except (msgspec.DecodeError, UnicodeError) as error:
            told = f"it is no JSON: {reason_of(error)}" if call else f"it is text: answer by calling {OUTPUT_TOOL}"
            raise Unfit(text, told, call) from error
        try:
            return self.value(value)
        except ValueError as error:
            raise Unfit(text, str(error), call) from error

    def value(self, data: Any) -> Any:
        """Return a JSON value as the type. Raises ValueError with the reason."""
        if self._wrapped and isinstance(data, dict) and set(data) == {WRAPPED}:
            data = data[WRAPPED]
        return convert(data, self.kind)
