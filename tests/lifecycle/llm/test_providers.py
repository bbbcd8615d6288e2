"""Real models against a real HTTP server, in the wire formats of OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
import io
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from shoal import errors
from shoal.kernel.usage import Usage
from shoal.llm import ChatMessage, Model, ModelReply, ToolCall, ToolSpec, open_model
from tests.lifecycle.llm.conftest import SECRET, Open
from tests.llm_server import LlmServer, call, failing, malformed, say
from tests.unit.llm.requests import ADD, asked, streamed

KEY = "run-1/r2/0:Optimist/model1"
ANSWER = ToolSpec(
    name="answer",
    description="Give the answer.",
    parameters={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)


def ask(model: Model, **fields: Any) -> ModelReply:
    async def main() -> ModelReply:
        return await model.request(asked(**{"max_tokens": 100, "timeout": 30.0, **fields}))

    return asyncio.run(main())


def talk_of(server: LlmServer, number: int) -> list[dict[str, Any]]:
    """The conversation in a request, as its wire format calls it."""
    body = server.seen[number].body
    return list(body.get("messages") or body["input"])


@pytest.mark.spec("O43")
def test_a_server_at_base_url_sees_one_request_for_each_attempt_with_our_key(
    server_of: Callable[..., LlmServer],
) -> None:
    server = server_of(failing("server_error"), failing("rate_limited", headers={"retry-after": "1"}), say("Hello."))
    model = open_model("llama3:8b", base_url=server.base_url)

    async def main() -> str:
        for attempt, error in ((1, errors.ModelUnavailableError), (2, errors.ModelRateLimitError)):
            with pytest.raises(error):
                await model.request(asked(key=KEY, attempt=attempt, timeout=30.0))
            assert len(server.seen) == attempt  # the SDK tries nothing again by itself
        return (await model.request(asked(key=KEY, attempt=3, timeout=30.0))).text

    assert asyncio.run(main()) == "Hello."
    assert [seen.path for seen in server.seen] == ["/v1/chat/completions"] * 3
    assert [seen.headers["idempotency-key"] for seen in server.seen] == [KEY] * 3
    assert {seen.body["model"] for seen in server.seen} == {"llama3:8b"}


def test_a_key_that_is_no_header_is_sent_as_its_hash(open_at: Open) -> None:
    server, model = open_at(say("Hello."))
    ask(model, key="r1/0:Ökonom/model0")
    assert server.seen[0].headers["idempotency-key"].startswith("sha256-")


def test_a_text_with_its_usage(open_at: Open, wire: str) -> None:
    server, model = open_at(say("Hello there.", usage=(123, 45)))
    reply = ask(model, system="Be kind.", temperature=0.25)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("Hello there.", (), "stop")
    assert reply.usage == Usage(calls=1, input_tokens=123, output_tokens=45)
    body = server.seen[0].body
    assert reply.provider == ("anthropic" if wire == "anthropic" else "openai") and reply.model == body["model"]
    assert (body.get("max_tokens") or body["max_output_tokens"], body["temperature"]) == (100, 0.25)
    assert "Be kind." in str([body.get("system"), body.get("instructions"), body.get("messages"), body.get("input")])


def test_no_usage_is_none_and_not_nothing(server_of: Callable[..., LlmServer]) -> None:
    server = server_of(say("Hello.", usage=None))
    assert ask(open_model("m", base_url=server.base_url)).usage is None


def test_tool_calls_all_at_once_and_their_answers(open_at: Open, wire: str) -> None:
    server, model = open_at(call(("add", '{"a": 1, "b": 2}'), ("add", '{"a": 3, "b": 4}')), say("3 and 7."))

    async def main() -> ModelReply:
        first = await model.request(asked("Add.", tools=(ADD,), max_tokens=50))
        assert [(made.name, made.arguments.replace(" ", "")) for made in first.tool_calls] == [
            ("add", '{"a":1,"b":2}'),
            ("add", '{"a":3,"b":4}'),
        ]
        assert first.finish_reason == "tool_calls" and first.text == ""
        answers = [
            ChatMessage(role="tool", name="add", call_id=made.call_id, content=text)
            for made, text in zip(first.tool_calls, ("3", "7"), strict=True)
        ]
        said = ChatMessage(role="assistant", tool_calls=first.tool_calls, state=first.state)
        asks = ChatMessage(role="user", content="Add.")
        return await model.request(asked(messages=(asks, said, *answers), tools=(ADD,), max_tokens=50))

    assert asyncio.run(main()).text == "3 and 7."
    sent = talk_of(server, 1)
    if wire == "responses":
        assert [item.get("call_id") for item in sent] == [None, "call_0", "call_1", "call_0", "call_1"]
    elif wire == "chat":
        assert [(message["role"], message.get("tool_call_id")) for message in sent] == [
            ("user", None),
            ("assistant", None),
            ("tool", "call_0"),
            ("tool", "call_1"),
        ]
        assert [made["id"] for made in sent[1]["tool_calls"]] == ["call_0", "call_1"]
    else:
        assert [block["id"] for block in sent[1]["content"]] == ["toolu_0", "toolu_1"]
        assert [block["tool_use_id"] for block in sent[2]["content"]] == ["toolu_0", "toolu_1"]
    assert server.seen[0].body["tools"]


@pytest.mark.parametrize("state", [b"", b"not JSON", b'[{"kind": "unheard of"}]'])
def test_a_turn_without_usable_state_is_sent_from_what_was_said(open_at: Open, wire: str, state: bytes) -> None:
    server, model = open_at(say("Yes."))
    made = ToolCall(call_id="c1", name="add", arguments='{"a": 1, "b": 2}')
    talk = (
        ChatMessage(role="user", content="Add."),
        ChatMessage(role="assistant", content="I add.", tool_calls=(made,), state=state),
        ChatMessage(role="tool", name="add", call_id="c1", content="3"),
    )
    assert ask(model, messages=talk, tools=(ADD,)).text == "Yes."
    assert "I add." in str(talk_of(server, 0)) and "'c1'" in str(talk_of(server, 0))


def test_state_that_says_something_else_than_the_message_is_not_sent(open_at: Open) -> None:
    server, model = open_at(say("The old words."), say("Yes."))

    async def main() -> None:
        first = await model.request(asked(max_tokens=50))
        healed = ChatMessage(role="assistant", content="The new words.", state=first.state)
        await model.request(asked(messages=(ChatMessage(role="user", content="Hi"), healed), max_tokens=50))

    asyncio.run(main())
    assert "The new words." in str(server.seen[1].body) and "The old words." not in str(server.seen[1].body)


def test_a_forced_output_tool(open_at: Open, wire: str) -> None:
    server, model = open_at(call(("answer", '{"n": 42}')))
    reply = ask(model, output_schema=ANSWER)
    assert [(made.name, made.arguments.replace(" ", "")) for made in reply.tool_calls] == [("answer", '{"n":42}')]
    body = server.seen[0].body
    assert [tool.get("name") or tool["function"]["name"] for tool in body["tools"]] == ["answer"]
    assert body["tool_choice"] in ("required", {"type": "any"}, {"type": "tool", "name": "answer"})


def test_a_forced_output_tool_beside_others(open_at: Open, wire: str) -> None:
    server, model = open_at(call(("answer", '{"n": 42}')))
    ask(model, output_schema=ANSWER, tools=(ADD,))
    body = server.seen[0].body
    assert {tool.get("name") or tool["function"]["name"] for tool in body["tools"]} == {"add", "answer"}
    assert body["tool_choice"] in ("required", {"type": "any"})


def test_a_stream_brings_pieces_and_then_the_whole(open_at: Open) -> None:
    server, model = open_at(say("One two three.", usage=(5, 3)))
    deltas, reply, error = asyncio.run(_stream(model))
    assert [delta.text for delta in deltas] == ["One ", "two ", "three."]
    assert error is None and reply is not None
    assert (reply.text, reply.finish_reason) == ("One two three.", "stop")
    assert reply.usage == Usage(calls=1, input_tokens=5, output_tokens=3) and reply.state
    assert server.seen[0].body["stream"] is True and len(server.seen) == 1


def test_a_stream_tells_of_tool_calls_when_they_begin(open_at: Open) -> None:
    _, model = open_at(say("I add.", calls=(("add", '{"a": 1, "b": 2}'), ("add", '{"a": 3, "b": 4}'))))
    deltas, reply, error = asyncio.run(_stream(model, tools=(ADD,)))
    begun = [delta.tool_call for delta in deltas if delta.tool_call is not None]
    assert error is None and reply is not None
    assert [(made.call_id, made.name) for made in begun] == [(made.call_id, made.name) for made in reply.tool_calls]
    assert [made.arguments for made in reply.tool_calls] == ['{"a": 1, "b": 2}', '{"a": 3, "b": 4}']
    assert reply.finish_reason == "tool_calls"


def test_a_streamed_turn_is_replayed_as_a_whole_one(open_at: Open) -> None:
    server, model = open_at(call(("add", '{"a": 1, "b": 2}')), say("3"))

    async def main() -> None:
        _, reply, _ = await streamed(model, asked("Add.", tools=(ADD,), max_tokens=50))
        assert reply is not None
        said = ChatMessage(role="assistant", tool_calls=reply.tool_calls, state=reply.state)
        answer = ChatMessage(role="tool", name="add", call_id=reply.tool_calls[0].call_id, content="3")
        talk = (ChatMessage(role="user", content="Add."), said, answer)
        await model.request(asked(messages=talk, tools=(ADD,), max_tokens=50))

    asyncio.run(main())
    assert "add" in str(talk_of(server, 1)[1])


@pytest.mark.parametrize(
    ("then", "error"), [("drop", errors.ModelUnavailableError), ("hold", errors.ModelTimeoutError)]
)
def test_what_came_of_a_broken_stream_is_kept(open_at: Open, then: str, error: type[Exception]) -> None:
    _, model = open_at(say("One two three four.", after=2, then=then))
    deltas, reply, raised = asyncio.run(_stream(model, timeout=0.5))
    assert [delta.text for delta in deltas] == ["One ", "two "]
    assert type(raised) is error
    assert reply is not None and (reply.text, reply.finish_reason, reply.usage) == ("One two ", "incomplete", None)


def test_a_stream_that_ends_before_its_reply_does_is_broken(
    server_of: Callable[..., LlmServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of(say("One two three.", after=2, then="end"))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    _, reply, raised = asyncio.run(_stream(open_model("anthropic:claude-haiku-4-5", api_key=SECRET)))
    assert isinstance(raised, errors.ModelUnavailableError)
    assert reply is not None and reply.finish_reason == "incomplete"


def test_a_stream_that_never_begins_keeps_nothing(open_at: Open) -> None:
    _, model = open_at(say("One.", silent=True))
    deltas, reply, raised = asyncio.run(_stream(model, timeout=0.3))
    assert (deltas, reply) == ([], None) and isinstance(raised, errors.ModelTimeoutError)


def test_a_stream_that_is_left_early_leaves_nothing_behind(open_at: Open) -> None:
    _, model = open_at(say("One two three.", after=1, then="hold"), say("Hello."))

    async def main() -> str:
        pieces = model.stream(asked(max_tokens=50))
        await anext(pieces)
        await pieces.aclose()  # type: ignore[attr-defined]
        return (await model.request(asked(max_tokens=50))).text

    assert asyncio.run(main()) == "Hello."


REFUSALS = [
    ("unauthorized", errors.ModelAuthError),
    ("forbidden", errors.ModelAuthError),
    ("not_found", errors.ModelRejectedError),
    ("bad_request", errors.ModelRejectedError),
    ("quota", errors.ModelRejectedError),
    ("too_long", errors.ContextTooLongError),
    ("rate_limited", errors.ModelRateLimitError),
    ("server_error", errors.ModelUnavailableError),
    ("unavailable", errors.ModelUnavailableError),
    ("overloaded", errors.ModelUnavailableError),
]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("kind", "error"), REFUSALS, ids=[kind for kind, _ in REFUSALS])
def test_each_refusal_has_its_class(open_at: Open, kind: str, error: type[errors.ModelError], streaming: bool) -> None:
    server, model = open_at(failing(kind, headers={"retry-after": "7"}, message=f"your key {SECRET} was seen"))

    async def main() -> errors.ModelError:
        if streaming:
            deltas, reply, raised = await streamed(model, asked(max_tokens=50))
            assert (deltas, reply) == ([], None)
            assert isinstance(raised, errors.ModelError)
            return raised
        with pytest.raises(errors.ModelError) as caught:
            await model.request(asked(max_tokens=50))
        return caught.value

    raised = asyncio.run(main())
    assert type(raised) is error
    assert raised.model == model.name and model.name in str(raised)
    assert SECRET not in "".join(traceback.format_exception(raised))
    assert raised.__cause__ is None and raised.__context__ is None
    assert len(server.seen) == 1
    if isinstance(raised, errors.ModelRateLimitError):
        assert raised.retry_after == 7.0
    if isinstance(raised, errors.ModelRejectedError):
        assert raised.status in (400, 404, 429)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_body_that_is_no_json_may_be_asked_again(open_at: Open, streaming: bool) -> None:
    _, model = open_at(malformed())
    if streaming:
        _, _, raised = asyncio.run(_stream(model))
        assert isinstance(raised, errors.ModelUnavailableError)
    else:
        with pytest.raises(errors.ModelUnavailableError):
            ask(model)


def test_no_answer_in_time(open_at: Open) -> None:
    _, model = open_at(say("Late.", silent=True))
    with pytest.raises(errors.ModelTimeoutError, match=r"0\.3 seconds"):
        ask(model, timeout=0.3)


def test_nobody_there(server_of: Callable[..., LlmServer]) -> None:
    with LlmServer(say("Hello.")) as server:
        url = server.base_url
    with pytest.raises(errors.ModelUnavailableError):
        ask(open_model("m", base_url=url), timeout=20.0)


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_a_reply_that_the_filter_took(open_at: Open, streaming: bool) -> None:
    _, model = open_at(say("", finish="content_filter"))
    if streaming:
        _, _, raised = asyncio.run(_stream(model))
        assert isinstance(raised, errors.ContentFilteredError)
    else:
        with pytest.raises(errors.ContentFilteredError):
            ask(model)


def test_a_request_that_the_filter_refused(server_of: Callable[..., LlmServer]) -> None:
    server = server_of(failing("filtered"))
    with pytest.raises(errors.ContentFilteredError):
        ask(open_model("m", base_url=server.base_url))


def test_a_reply_cut_by_its_length(open_at: Open) -> None:
    _, model = open_at(say("One two", finish="length"))
    assert ask(model).finish_reason == "length"


def test_cancelling_a_request_cancels_it(open_at: Open) -> None:
    server, model = open_at(say("Late.", silent=True), say("Hello."))

    async def main() -> str:
        waiting = asyncio.create_task(model.request(asked(max_tokens=50)))
        while not server.seen:
            await asyncio.sleep(0.001)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return (await model.request(asked(max_tokens=50))).text

    assert asyncio.run(main()) == "Hello."


def test_one_model_serves_one_loop_after_the_other_and_closes_behind_itself(open_at: Open) -> None:
    server, model = open_at(say("Hello."))
    for _ in range(3):
        assert ask(model).text == "Hello."
    assert len(server.seen) == 3
    assert not model._seats  # type: ignore[attr-defined]


def test_settings_and_headers_of_the_developer_are_sent(open_at: Open) -> None:
    server, model = open_at(say("Hello."), settings={"top_p": 0.5, "extra_headers": {"x-team": "blue"}})
    ask(model, settings={"extra_headers": {"x-part": "two"}}, key=KEY)
    seen = server.seen[0]
    assert seen.body["top_p"] == 0.5
    assert (seen.headers["x-team"], seen.headers["x-part"], seen.headers["idempotency-key"]) == ("blue", "two", KEY)


def test_only_a_key_that_was_given_is_sent_to_another_server(
    server_of: Callable[..., LlmServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    server = server_of(say("Hello."))
    ask(open_model("gpt-4o-mini", provider="openai", base_url=server.base_url))
    ask(open_model("gpt-4o-mini", base_url=server.base_url, api_key="mine"))
    assert SECRET not in str(server.seen)
    assert server.seen[1].headers["authorization"] == "Bearer mine"


def test_the_key_of_the_environment_is_read_and_never_told(
    server_of: Callable[..., LlmServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = server_of(failing("unauthorized", message=f"wrong key: {SECRET}"))
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    model = open_model(provider="anthropic")
    with pytest.raises(errors.ModelAuthError) as caught:
        ask(model)
    assert SECRET in str(server.seen[0].headers)
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(model) + repr(vars(caught.value))


def test_no_log_holds_the_key(open_at: Open) -> None:
    _, model = open_at(say("Hello."), failing("unauthorized"))
    told = io.StringIO()
    handler = logging.StreamHandler(told)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        ask(model)
        with pytest.raises(errors.ModelAuthError):
            ask(model)
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
    assert told.getvalue()  # the SDK tells what it does
    assert SECRET not in told.getvalue()


def test_a_model_object_of_pydantic_ai(server_of: Callable[..., LlmServer]) -> None:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    server = server_of(say("Hello."))
    theirs = OpenAIChatModel("gpt-4o-mini", provider=OpenAIProvider(base_url=server.base_url, api_key=SECRET))
    model = open_model(theirs, price=(1.0, 2.0))
    assert model.name == "openai:gpt-4o-mini"
    assert [ask(model).text for _ in range(2)] == ["Hello.", "Hello."]
    assert model.price(Usage(calls=1, input_tokens=1_000_000, output_tokens=1_000_000)) == 3_000_000_000_000
    assert open_model(theirs).price(Usage(calls=1, input_tokens=1000)) is None
    server.play(failing("server_error"))
    with pytest.raises(errors.ModelUnavailableError):
        ask(model)
    assert len(server.seen) == 1
    assert theirs.client.max_retries > 0  # theirs is left as it is


async def _stream(model: Model, **fields: Any) -> Any:
    return await streamed(model, asked(**{"max_tokens": 100, "timeout": 30.0, **fields}))
