"""The older protocol's lines as frames and back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.boxes import boxwire, wire
from shoal.boxes.guest.frames import Splitter
from shoal.boxes.views import Side, frames_to_lines, lines_to_frames
from shoal.errors import ProtocolError

value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
GUEST: list[dict[str, Any]] = [
    {"type": "send", "id": "a1", "target": "worker-b", "data": {"task": "double", "value": 21}},
    {"type": "publish", "id": "a2", "event": "task_complete", "data": {"status": "success"}},
    {"type": "response", "id": "b7", "data": {"doubled": 42}},
]
HOST: list[dict[str, Any]] = [
    {"type": "message", "id": "b7", "sender": "worker-a", "data": 1},
    {"type": "response", "id": "a1", "data": None},
    {"type": "event", "id": 3, "sender": "worker-a", "event": "task_complete", "data": [1.5]},
    {"type": "shutdown"},
]


@pytest.mark.spec("B51")
@pytest.mark.parametrize(("side", "lines"), [("guest", GUEST), ("host", HOST)])
def test_lines_come_back_as_they_were_and_their_frames_are_of_the_live_wire(
    side: Side, lines: list[dict[str, Any]]
) -> None:
    data = lines_to_frames(map(json.dumps, lines), side)
    assert [json.loads(line) for line in frames_to_lines(data, side)] == lines
    splitter = Splitter(1 << 20)
    splitter.feed(data)
    decoder: msgspec.json.Decoder[Any] = boxwire.from_box if side == "guest" else boxwire.to_box
    records = [wire.decode_record(*found, decoder) for found in iter(splitter.next, None)]
    assert [type(record) for record in records] == (
        [boxwire.Send, boxwire.Publish, boxwire.Reply]
        if side == "guest"
        else [boxwire.Message, boxwire.Answer, boxwire.Event, wire.Stop]
    )


@pytest.mark.spec("B51")
@given(st.lists(st.tuples(st.text(max_size=8) | st.integers(0, 9), value, st.dictionaries(st.text(max_size=6), value))))
def test_nothing_is_lost(parts: list[tuple[Any, Any, dict[str, Any]]]) -> None:
    lines = [
        {
            **{k: v for k, v in more.items() if k not in ("id", "type", "line_id")},
            "type": "send",
            "id": number,
            "data": data,
        }
        for number, data, more in parts
    ]
    back = frames_to_lines(lines_to_frames(map(json.dumps, lines), "guest"), "guest")
    assert [json.loads(line) for line in back] == lines


@pytest.mark.parametrize("line", ["", "[]", "{", '{"type":"shutdown"}', '{"type":"hello"}', "42"])
def test_what_is_no_line_is_refused(line: str) -> None:
    with pytest.raises(ProtocolError):
        lines_to_frames([line], "guest")
