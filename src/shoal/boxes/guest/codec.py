"""Frames of a box as JSON, written and read with the standard library only."""

from __future__ import annotations

import json
from typing import Any

from .faults import describe_error
from .frames import JSON, frame
from .telling import own_traceback

Record = dict[str, Any]
_scan: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
quote = json.encoder.encode_basestring_ascii
"""A str as JSON."""
_ERROR_BYTES = 48 * 1024


def read_record(body: bytes) -> Record:
    """Return a J frame's record. What Python refuses to read is named by ``unreadable``: its data is not what was sent."""
    try:
        record: Record = _scan(body.decode(), 0)[0]
    except ValueError:
        record = _read_slowly(body)
    return record


def _read_slowly(body: bytes) -> Record:
    refused: list[int] = []

    def number(digits: str) -> int:
        try:
            return int(digits)
        except ValueError:
            refused.append(len(digits))
            return 0

    record: Record = json.loads(body, parse_int=number)
    if refused:
        record["unreadable"] = f"an integer of {refused[0]} digits"
    return record


def write_record(**fields: object) -> bytes:
    """Return a record as one frame."""
    return frame(JSON, _dumps(fields).encode())


def write_error(error: BaseException) -> str:
    """Return an error as JSON; its traceback begins with the program's own first line."""
    about = describe_error(error.with_traceback(own_traceback(error)))
    text = _dumps(about)
    if len(text.encode()) > _ERROR_BYTES:
        about = {**about, "attributes": {}, "notes": []}
        about.update(text=about["text"][:2048], traceback=about["traceback"][-2048:])
        text = _dumps(about)
    return text
