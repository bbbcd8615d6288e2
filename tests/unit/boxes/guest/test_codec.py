from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.boxes import boxwire, wire
from shoal.boxes.guest.codec import quote, read_record, write_error, write_record
from shoal.boxes.guest.frames import JSON, Splitter
from shoal.boxes.guest.handlers import matches
from shoal.boxes.guest.telling import own_traceback
from shoal.boxes.policy import event_matches

RECORDS: list[Any] = [
    boxwire.Message(id=1, sender="b", data=wire.NOTHING, over=3),
    boxwire.Answer(id=2, error=wire.ErrorRecord(type="E", text="é\u2028")),
    boxwire.AssignBox(name="a", env={"A": "\x00"}),
    wire.Stop(),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_what_the_runtime_writes_is_read(record: Any) -> None:
    splitter = Splitter(1 << 20)
    splitter.feed(wire.encode_record(record))
    found = splitter.next()
    assert found is not None
    assert read_record(found[1]) == json.loads(found[1])


def test_what_a_box_writes_is_read_by_the_runtime() -> None:
    splitter = Splitter(1 << 20)
    splitter.feed(write_record(type="handlers", messages=True, events=("a", "b*"), complete=False))
    found = splitter.next()
    assert found is not None and found[0] == JSON
    record = wire.decode_record(*found, boxwire.from_box)
    assert record == boxwire.Handlers(messages=True, events=("a", "b*"), complete=False)


@pytest.mark.parametrize("digits", [4301, 100_000])
def test_a_number_that_python_refuses_is_named_and_the_rest_is_read(digits: int) -> None:
    record = read_record(b'{"type":"message","id":7,"data":[1,%s]}' % (b"9" * digits))
    assert (record["type"], record["id"], record["unreadable"]) == ("message", 7, f"an integer of {digits} digits")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_quoted(text: str) -> None:
    assert json.loads(quote(text)) == text


def test_an_error_is_never_too_long_for_a_frame() -> None:
    class Large(Exception):
        def __init__(self) -> None:
            super().__init__("\U0001f600" * 100_000)
            self.many = {str(n): "x" * 100 for n in range(60)}
            for n in range(60):
                setattr(self, f"more{n}", "x" * 5000)
                self.add_note("y" * 5000)

    try:
        raise Large
    except Large as error:
        text = write_error(error)
    assert len(text.encode()) < wire.ROOM
    record = json.loads(text)
    assert record["type"] == "Large" and record["text"].startswith("\U0001f600")


def test_a_traceback_begins_in_the_program() -> None:
    def program() -> None:
        raise ValueError("x")

    try:
        program()
    except ValueError as error:
        trace = own_traceback(error)
        assert trace is not None and trace.tb_frame.f_code.co_filename == __file__


@given(st.text(alphabet="ab*", max_size=4), st.text(alphabet="ab*", max_size=4))
def test_patterns_mean_the_same_in_a_box_and_outside(pattern: str, event: str) -> None:
    assert matches(pattern, event) == event_matches(pattern, event)
