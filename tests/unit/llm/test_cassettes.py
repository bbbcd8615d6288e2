"""Cassettes: recorded, replayed, missed, damaged."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from shoal.errors import CassetteError, CassetteMissError, ModelUnavailableError
from shoal.kernel.usage import Usage
from shoal.llm import ChatMessage, Model, ModelReply, ModelRequest, ToolCall, open_model, recorded, scripted
from shoal.llm.cassette import Cassette, canonical, first_difference, line_of
from tests.llm_server import LlmServer, call, say
from tests.unit.llm.requests import ADD, asked, streamed

SECRET = "sk-test-0c2e-cassette"


def tell(model: Model, *requests: ModelRequest) -> list[ModelReply]:
    async def main() -> list[ModelReply]:
        return [await model.request(request) for request in requests]

    return asyncio.run(main())


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    return tmp_path / "tape.jsonl"


@pytest.mark.spec("O44")
def test_a_real_conversation_replays_with_the_network_closed(tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk = [
        asked(
            "Add.", system="Be brief.", tools=(ADD,), key="k1", timeout=20.0, settings={"extra_headers": {"x": SECRET}}
        ),
        asked("Stream."),
        asked("Add.", agent_name="Critic"),
    ]

    async def main(model: Model) -> list[object]:
        first = await model.request(talk[0])
        second = await streamed(model, talk[1])
        return [first, second[1], "".join(delta.text for delta in second[0]), await model.request(talk[2])]

    with LlmServer(call(("add", '{"a": 1, "b": 2}')), say("One two."), say("Three.")) as server:
        real = open_model("m", base_url=server.base_url, api_key=SECRET, price=(1.0, 2.0))
        heard = asyncio.run(main(recorded(tape, real)))
    text = tape.read_text()
    assert (
        SECRET not in text
        and "Bearer" not in text
        and "127.0.0.1" not in json.dumps([json.loads(line)["request"] for line in text.splitlines()])
    )

    def refused(*_: object) -> None:
        raise AssertionError("the network is closed")

    monkeypatch.setattr(socket.socket, "connect", refused)
    model = recorded(tape, mode="replay")
    assert asyncio.run(main(model)) == heard
    assert tape.read_text() == text
    assert asyncio.run(main(open_model(f"recorded:{tape}"))) == heard
    assert model.price(Usage(calls=1, input_tokens=11, output_tokens=7)) == 25_000_000
    assert SECRET not in repr(model) + repr(real)


@pytest.mark.spec("O44")
def test_a_changed_prompt_misses_and_shows_the_difference(tape: Path) -> None:
    model = recorded(tape, scripted({"": "Yes."}))
    tell(model, asked("Tell me of cats.", system="Be kind."), asked("Something else", system="Be short."))
    with pytest.raises(CassetteMissError) as caught:
        tell(recorded(tape, mode="replay"), asked("Tell me of dogs.", system="Be kind.", ordinal=4))
    assert caught.value.path == str(tape)
    assert str(caught.value).endswith(
        "has no reply to call 4 of 'Writer'; the first difference to the nearest request: "
        "messages[0].content: recorded 'Tell me of cats.', now 'Tell me of dogs.'"
    )


def test_the_same_again_is_another_reply_as_often_as_it_was_recorded(tape: Path) -> None:
    replies = iter(("one", "two"))
    model = recorded(tape, scripted({"": lambda request: next(replies)}))
    assert [reply.text for reply in tell(model, asked(), asked(ordinal=1))] == ["one", "two"]
    again = recorded(tape)
    assert [reply.text for reply in tell(again, asked(), asked(ordinal=1))] == ["one", "two"]
    with pytest.raises(CassetteMissError, match="asked 3 times, and is recorded 2 times"):
        tell(again, asked())


def test_auto_records_what_is_not_there_and_asks_for_nothing_else(tape: Path, tmp_path: Path) -> None:
    log = tmp_path / "calls"
    tell(recorded(tape, scripted({"": "old"}, log=log)), asked("a"))
    model = recorded(tape, scripted({"": "new"}, log=log))
    assert [reply.text for reply in tell(model, asked("a"), asked("b"))] == ["old", "new"]
    assert len(log.read_text().splitlines()) == 2
    assert len(tape.read_text().splitlines()) == 2


def test_record_asks_for_all_and_replaces(tape: Path) -> None:
    tell(recorded(tape, scripted({"": "old"})), asked("a"), asked("b"))
    assert tell(recorded(tape, scripted({"": "new"}), mode="record"), asked("a"))[0].text == "new"
    assert [reply.text for reply in tell(recorded(tape), asked("a"), asked("b"))] == ["new", "old"]


def test_two_models_share_a_file(tape: Path) -> None:
    one, two = (recorded(tape, scripted({"": text})) for text in ("one", "two"))
    tell(one, asked("a"))
    tell(two, asked("b"))
    tell(one, asked("c"))
    assert [reply.text for reply in tell(recorded(tape), asked("a"), asked("b"), asked("c"))] == ["one", "two", "one"]
    assert [path.name for path in tape.parent.iterdir()] == [tape.name]


def test_a_call_that_failed_is_not_recorded_and_its_next_attempt_is_the_same_call(tape: Path) -> None:
    said = scripted({"": lambda request: ModelUnavailableError("down") if request.attempt == 1 else "up"})
    model = recorded(tape, said)
    with pytest.raises(ModelUnavailableError):
        tell(model, asked())
    with pytest.raises(ModelUnavailableError):
        asyncio.run(_raise(model))
    assert not tape.exists()
    tell(model, asked(attempt=2))
    assert tell(recorded(tape), asked())[0].text == "up"


async def _raise(model: Model) -> None:
    _, _, error = await streamed(model, asked())
    assert error is not None
    raise error


def test_what_came_of_a_broken_stream_is_not_recorded(tape: Path) -> None:
    class Breaks:
        name = "breaks"

        async def request(self, request: ModelRequest) -> ModelReply:
            raise NotImplementedError

        async def stream(self, request: ModelRequest) -> Any:
            yield ModelReply(text="half", finish_reason="incomplete")
            raise ModelUnavailableError("broke off")

        def price(self, usage: Usage) -> int | None:
            return None

    _, reply, error = asyncio.run(streamed(recorded(tape, Breaks()), asked()))
    assert reply is not None and reply.finish_reason == "incomplete" and isinstance(error, ModelUnavailableError)
    assert not tape.exists()


@pytest.mark.parametrize(
    ("line", "damage"),
    [
        (2, b"not JSON"),
        (2, b'{"n":0}'),
        (2, b"\xff\xfe"),
        (2, b""),
        (1, b'{"sha256":"00","n":0,"request":{"system":"x"},"reply":{},"price":null}'),
    ],
)
def test_a_damaged_line_is_named_and_nothing_is_touched(tape: Path, line: int, damage: bytes) -> None:
    tell(recorded(tape, scripted({"": "x"})), asked("a"), asked("b"), asked("c"))
    lines = tape.read_bytes().splitlines()
    lines[line - 1] = damage
    tape.write_bytes(b"\n".join(lines) + b"\n")
    before = tape.read_bytes()
    for mode in ("auto", "replay", "record"):
        with pytest.raises(CassetteError, match=f"tape.jsonl' is damaged in line {line}") as caught:
            recorded(tape, scripted({"": "x"}), mode=mode)
        assert (caught.value.path, caught.value.line) == (str(tape), line)
    assert tape.read_bytes() == before


def test_a_line_damaged_while_recording_goes_on(tape: Path) -> None:
    model = recorded(tape, scripted({"": "x"}))
    tell(model, asked("a"))
    tape.write_text("oh\n")
    with pytest.raises(CassetteError, match="line 1"):
        tell(model, asked("b"))
    assert tape.read_text() == "oh\n"


@pytest.mark.spec("O50")
def test_cassette_damaged_in_line_7(tape: Path) -> None:
    tell(recorded(tape, scripted({"": "x"})), *(asked(str(n)) for n in range(9)))
    lines = tape.read_text().splitlines()
    lines[6] = lines[6][:40]
    tape.write_text("\n".join(lines))
    with pytest.raises(CassetteError, match="line 7") as caught:
        open_model(f"recorded:{tape}")
    assert caught.value.line == 7 and tape.read_text() == "\n".join(lines)


def test_what_cannot_be_opened(tape: Path) -> None:
    with pytest.raises(CassetteError, match="is not there"):
        recorded(tape)
    with pytest.raises(CassetteError, match="is not there"):
        recorded(tape, scripted(["a"]), mode="replay")
    with pytest.raises(CassetteError, match="cannot be read"):
        recorded(tape.parent)
    with pytest.raises(CassetteError, match="cannot be written"):
        tell(recorded(tape.parent / "none" / "tape.jsonl", scripted(["a"])), asked())
    with pytest.raises(ValueError, match="must be 'auto', 'replay' or 'record'"):
        recorded(tape, mode="rec")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the model to record"):
        recorded(tape, mode="record")
    tape.touch()
    with pytest.raises(CassetteMissError, match="it is empty"):
        tell(recorded(tape), asked())


def test_what_is_asked_and_what_is_not() -> None:
    made = ToolCall(call_id="c", name="add")
    full = asked(
        messages=(ChatMessage(role="assistant", tool_calls=(made,), state=b"state"),),
        key="k", ordinal=3, attempt=2, timeout=5.0, temperature=0, max_tokens=5, tools=(ADD,),
        settings={"top_p": 1, "extra_headers": {"a": "b"}, "extra_body": {"api_key": "x", "seed": 1}},
    )  # fmt: skip
    seen = canonical(full)
    assert set(seen) == {"messages", "agent_name", "temperature", "max_tokens", "tools", "settings"}
    assert seen["settings"] == {"top_p": 1, "extra_body": {"seed": 1}}
    assert seen["messages"] == [{"role": "assistant", "tool_calls": [{"call_id": "c", "name": "add"}]}]
    other = asked(
        messages=(ChatMessage(role="assistant", tool_calls=(made,)),),
        temperature=0.0, max_tokens=5, tools=(ADD,), settings={"extra_body": {"seed": 1}, "top_p": 1},
    )  # fmt: skip
    assert line_of(full, ModelReply()).sha256 == line_of(other, ModelReply()).sha256
    with pytest.raises(CassetteError, match="must be JSON"):
        canonical(asked(settings={"x": object()}))


def test_lines_can_be_added_from_elsewhere(tape: Path) -> None:
    reply = ModelReply(text="from a journal", state=b"\x00\xff", usage=Usage(calls=1, input_tokens=3))
    lines = [line_of(asked("a"), reply, price=7), line_of(asked("a"), ModelReply(text="second"), n=1, price=0)]
    Cassette(tape).add(lines)
    model = recorded(tape)
    assert tell(model, asked("a"), asked("a")) == [reply, lines[1].reply]
    assert model.price(Usage(calls=1, input_tokens=3)) == 7
    assert model.price(Usage(calls=1, input_tokens=300)) == 700  # a bound


def test_a_price_that_was_not_known_is_not_known_again(tape: Path) -> None:
    Cassette(tape).add([line_of(asked("a"), ModelReply(usage=Usage(calls=1)))])
    assert recorded(tape).price(Usage(calls=1)) is None


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1}, {"a": 2}, "a: recorded 1, now 2"),
        ({"a": 1}, {"b": 1}, "a: recorded only"),
        ({}, {"b": 1}, "b: now only"),
        ({"a": [1, 2]}, {"a": [1]}, "a: recorded 2, now 1"),
        ({"a": [{"b": "x"}]}, {"a": [{"b": "y"}]}, "a[0].b: recorded 'x', now 'y'"),
        ({"a": True}, {"a": 1}, "a: recorded True, now 1"),
        ({"a": "=" * 99 + "x"}, {"a": "=" * 99 + "y"}, f"a: recorded '{'=' * 30}x', now '{'=' * 30}y'"),
    ],
)
def test_the_first_difference(before: Any, now: Any, told: str) -> None:
    assert first_difference(before, now) == told
