"""The JSON lines of the older protocol (send, publish, response, message, event, shutdown) as frames, and back.

For recordings and their import; they are not what goes over the live wire. Nothing is lost: what a frame has no field
for stays in it as a field that readers of frames ignore, and a line's own id (a text, as a rule) beside the number.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from shoal.boxes.guest.frames import JSON, Splitter, frame
from shoal.errors import ProtocolError

__all__ = ["frames_to_lines", "lines_to_frames"]

Side = Literal["guest", "host"]
_TO_FRAME: dict[tuple[Side, str], str] = {
    ("guest", "send"): "send",
    ("guest", "publish"): "publish",
    ("guest", "response"): "reply",
    ("host", "response"): "answer",
    ("host", "message"): "message",
    ("host", "event"): "event",
    ("host", "shutdown"): "stop",
}
_TO_LINE = {(side, word): line for (side, line), word in _TO_FRAME.items()}
_LINE_ID = "line_id"
_LARGEST = 1 << 31


def lines_to_frames(lines: Iterable[str], side: Side) -> bytes:
    """Return the frames of what one side said.

    Args:
        lines: one JSON object each, with ``type``.
        side: who said them: guest or host.

    Raises:
        ProtocolError: a line is no JSON object, or of no known type for that side.
    """
    numbers: dict[str, int] = {}
    return b"".join(_frame(line, side, numbers) for line in lines)


def _frame(line: str, side: Side, numbers: dict[str, int]) -> bytes:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ProtocolError(f"not a line of JSON: {error} in {line[:80]!r}") from None
    word = _TO_FRAME.get((side, str(fields.get("type")))) if isinstance(fields, dict) else None
    if word is None:
        raise ProtocolError(f"no line that a {side} says: {line[:80]!r}")
    if "id" in fields and not _is_number(fields["id"]):
        key = json.dumps(fields["id"])
        fields = {name: value for name, value in fields.items() if name != "id"} | {_LINE_ID: fields["id"]}
        fields["id"] = numbers.setdefault(key, len(numbers) + 1)
    return frame(JSON, json.dumps({**fields, "type": word}).encode())


def frames_to_lines(data: bytes, side: Side) -> list[str]:
    """Return the lines of what one side said in frames. Raises ProtocolError for a frame that has no line."""
    splitter = Splitter(_LARGEST)
    splitter.feed(data)
    lines = []
    while (found := splitter.next()) is not None:
        kind, body = found
        fields: dict[str, Any] = json.loads(body) if kind == JSON else {}
        word = _TO_LINE.get((side, fields.get("type", "")))
        if word is None:
            raise ProtocolError(f"no line can say this frame: {body[:80]!r}")
        if _LINE_ID in fields:
            fields["id"] = fields.pop(_LINE_ID)
        lines.append(json.dumps({**fields, "type": word}))
    return lines


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
