"""What a child does between its hello and its life: it imports what it is told to, and waits for what it is to be."""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from typing import Any, NoReturn

from .frames import JSON, frame
from .watchdog import PARENT_GONE


def start(channel: int) -> NoReturn:
    """Become an agent (``assign``) or a box (``assignbox``); never returns."""
    sys.argv[:] = [""]
    while True:
        body = _receive(channel)
        record: dict[str, Any] = json.loads(body)
        match record["type"]:
            case "preload":
                import_from(record["path"])
                for name in record.get("load", ()):
                    importlib.import_module(name)
                send(channel, {"type": "loaded"})
            case "ping":
                send(channel, {"type": "pong", "id": record["id"]})
            case "assign":
                importlib.import_module("shoal.boxes.agentguest.serve").serve(channel, body)
            case "assignbox":
                importlib.import_module(f"{__package__}.box").serve(channel, record)
            case "stop":
                os._exit(0)


def import_from(path: list[str]) -> None:
    """Import from *path* from now on, and from the interpreter's own library, which comes first if *path* lacks it."""
    sys.path[:] = [entry for entry in sys.path if entry not in path] + path


def send(channel: int, record: dict[str, object]) -> None:
    """Write one J frame."""
    data = memoryview(frame(JSON, json.dumps(record).encode()))
    while data:
        data = data[os.write(channel, data) :]


def _receive(channel: int) -> bytes:
    """Read one J frame and not a byte more."""
    length, _ = struct.unpack(">IB", _read_exactly(channel, 5))
    return _read_exactly(channel, length)


def _read_exactly(channel: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(channel, size - len(data))
        if not piece:
            os._exit(PARENT_GONE)
        data += piece
    return data
