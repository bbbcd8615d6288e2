from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.boxes import wire
from shoal.boxes.guest.frames import BLOCK, CHUNK, JSON, FrameError, Splitter, blocks, frame
from shoal.errors import ProtocolError


class Decoder:
    """Bytes to records as the runtime does it: cut into frames, then decoded."""

    def __init__(self, max_frame: int) -> None:
        self._splitter = Splitter(max_frame)

    def feed(self, data: bytes) -> list[Any]:
        self._splitter.feed(data)
        found = []
        try:
            while (piece := self._splitter.next()) is not None:
                found.append(wire.decode_record(*piece, wire.from_guest))
        except FrameError as error:
            raise ProtocolError(str(error)) from None
        return found


RECORDS = [
    wire.Hello(protocol=(1, 0), guest="shoal", python="3.11.7", pid=7),
    wire.Loaded(),
    wire.Ready(takes_tasks=True, hooks=("on_start",)),
    wire.Done(id="a", data=msgspec.Raw(b'{"x":[1,2]}')),
    wire.Done(id="b", error=wire.ErrorRecord(type="ValueError", text="no")),
    wire.Call(id=1, verb="progress", invocation="a", args={"fraction": 0.5}),
    wire.Call(id=2, verb="receive_messages", taken=(1, -1)),
    wire.Uncall(id=1),
    wire.Metric(kind="count", name="n", value=2.0),
    wire.Held(id=3),
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.sampled_from(RECORDS)), st.lists(st.integers(min_value=0)))
def test_records_survive_any_splits(records: list[object], cuts: list[int]) -> None:
    data = b"".join(wire.encode_record(record) for record in records)  # type: ignore[arg-type]
    decoder = Decoder(1 << 20)
    assert [found for piece in pieces(data, cuts) for found in decoder.feed(piece)] == records


@pytest.mark.spec("B46")
@given(st.lists(st.binary()), st.integers(min_value=2, max_value=1 << 20))
def test_any_bytes_give_records_or_protocol_error(chunks: list[bytes], limit: int) -> None:
    decoder = Decoder(limit)
    for chunk in chunks:
        try:
            decoder.feed(chunk)
        except ProtocolError:
            return


@pytest.mark.spec("B46")
@given(st.lists(st.tuples(st.sampled_from([JSON, BLOCK]), st.binary(min_size=2, max_size=64))))
def test_well_cut_junk_gives_records_or_protocol_error(frames: list[tuple[int, bytes]]) -> None:
    decoder = Decoder(1 << 20)
    for kind, body in frames:
        try:
            decoder.feed(frame(kind, body))
        except ProtocolError:
            continue


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)


@given(st.sampled_from(["hello", "done", "call", "ready", "held", "nonsense", 3]), json_values)
def test_json_of_the_wrong_shape_is_a_protocol_error(kind: object, value: object) -> None:
    decoder = Decoder(1 << 20)
    body = json.dumps({"type": kind, "id": value, "data": value, "args": value, "error": value}).encode()
    try:
        decoder.feed(frame(JSON, body))
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xffJ",
        frame(JSON, b"[" * 100_000),
        frame(JSON, b'{"type":"done","id":"x","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        frame(JSON, b'{"type":"hello","guest":"\xff"}'),
        frame(JSON, b'{"type":"launch_missiles"}'),
        frame(JSON, b"{}"),
        b"\x00\x00\x00\x02Xab",
        b"\x00\x00\x00\x00J",
        b"\x00\x10\x00\x00B",
    ],
)
def test_violations(data: bytes) -> None:
    decoder = Decoder(1 << 20)
    with pytest.raises(ProtocolError):
        decoder.feed(data)


def test_an_error_is_for_good() -> None:
    decoder = Decoder(100)
    with pytest.raises(ProtocolError):
        decoder.feed(b"\xff\xff\xff\xffJ")
    with pytest.raises(ProtocolError):
        decoder.feed(wire.encode_record(wire.Loaded()))


def test_a_program_travels_in_blocks() -> None:
    program = bytes(range(256)) * 3000
    frames = blocks(9, program)
    assert len(frames) == 3
    found = Decoder(100).feed(b"".join(frames))
    assert all(block.stream == 9 and len(block.data) <= CHUNK for block in found)
    assert b"".join(block.data for block in found) == program


def test_a_splitter_raises_its_error_again() -> None:
    splitter = Splitter(100)
    splitter.feed(b"\x00\x00\x00\x02Xab")
    for _ in range(2):
        with pytest.raises(FrameError):
            splitter.next()
