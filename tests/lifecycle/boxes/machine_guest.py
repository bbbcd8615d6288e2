"""What the tests of virtual machines run in one, in place of the guest: it runs the code that frames bring.

A J frame ``{"run": CODE}`` is answered with what the code left in ``value``; a B frame comes back as it is.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any


def _read(size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(0, size - len(data))
        if not piece:
            os._exit(70)
        data += piece
    return data


def _send(kind: int, body: bytes) -> None:
    data = memoryview(struct.pack(">IB", len(body), kind) + body)
    while data:
        data = data[os.write(0, data) :]


def _say(**record: Any) -> None:
    _send(ord("J"), json.dumps(record).encode())


def _main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    _say(type="hello", protocol=[1, 0], guest="test", python="3", pid=os.getpid(), uid=os.getuid())
    names: dict[str, Any] = {"say": _say}
    while True:
        length, kind = struct.unpack(">IB", _read(5))
        body = _read(length)
        if kind == ord("B"):
            _send(kind, body)
            continue
        names["value"] = None
        exec(json.loads(body)["run"], names)
        _say(type="done", value=names["value"])


_main()
