"""The doubles without a file: echo, scripted, chaos."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shoal.errors import (
    ConfigError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelUnavailableError,
    ScriptExhaustedError,
)
from shoal.kernel.usage import Usage
from shoal.llm import Model, ModelReply, ModelRequest, ToolCall, chaos, echo, open_model, scripted
from shoal.testing.clock import VirtualClock, run_virtual
from tests.unit.llm.requests import asked, streamed

ADD = ToolCall(call_id="c1", name="add", arguments='{"a": 1}')


def say(model: Model, request: ModelRequest) -> ModelReply:
    return asyncio.run(model.request(request))


def test_echo_answers_with_the_last_message() -> None:
    assert say(echo(), asked("Hello")).text == "Hello"
    assert say(echo("You said: "), asked("Hello")).text == "You said: Hello"
    assert say(echo(), ModelRequest()).text == ""
    assert echo().price(Usage(calls=3)) == 0


def test_a_list_is_picked_by_ordinal_whatever_was_asked_before() -> None:
    model = scripted(["zero", "one", "two"])
    assert [say(model, asked(ordinal=n)).text for n in (2, 0, 0, 1)] == ["two", "zero", "zero", "one"]


def test_past_the_end_the_error_says_who_and_which() -> None:
    with pytest.raises(ScriptExhaustedError, match=r"has 1 reply of 'Writer', and number 2 ") as caught:
        say(scripted(["only"]), asked(ordinal=1))
    assert (caught.value.agent_name, caught.value.ordinal) == ("Writer", 1)


def test_everything_that_can_be_said() -> None:
    async def later(request: ModelRequest) -> str:
        return f"later, {request.agent_name}"

    whole = ModelReply(text="whole", finish_reason="length")
    model = scripted(
        [
            "text",
            ADD,
            (ADD, ADD),
            whole,
            {"text": "both", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]},
            lambda request: request.messages[-1].content.upper(),
            later,
            lambda request: ModelUnavailableError("down"),
            ModelUnavailableError("down"),
            ModelTimeoutError,
        ]
    )
    said = [say(model, asked("hi", ordinal=n)) for n in range(7)]
    assert [reply.text for reply in said] == ["text", "", "", "whole", "both", "HI", "later, Writer"]
    assert [len(reply.tool_calls) for reply in said] == [0, 1, 2, 0, 1, 0, 0]
    assert said[1].finish_reason == "tool_calls" and said[3].usage is None
    assert said[4].tool_calls[0] == ToolCall(call_id="call_4_0", name="add", arguments='{"a": 1}')
    for n, error in ((7, ModelUnavailableError), (8, ModelUnavailableError), (8, ModelUnavailableError)):
        with pytest.raises(error):
            say(model, asked(ordinal=n))


def test_lists_by_agent() -> None:
    model = scripted({"Writer": ["w0", "w1"], "Critic": ["c0"]})
    assert say(model, asked(ordinal=1)).text == "w1"
    assert say(model, asked(agent_name="Critic")).text == "c0"
    with pytest.raises(ScriptExhaustedError, match="has no replies of 'Nobody', and number 1 "):
        say(model, asked(agent_name="Nobody"))


def test_regular_expressions_of_the_last_message() -> None:
    model = scripted({r"(?i)weather": "sunny", r"^\d+$": ADD})
    assert say(model, asked("What Weather?")).text == "sunny"
    assert say(model, asked("42")).tool_calls == (ADD,)
    with pytest.raises(ScriptExhaustedError) as caught:
        say(model, asked("nothing of that"))
    assert "nothing of that" in caught.value.__notes__[-1]


def test_usage_is_counted_or_given_and_a_call_has_its_cost() -> None:
    request = asked("12345678", system="1234", max_tokens=2)
    assert say(scripted(["a" * 80]), request).usage == Usage(calls=1, input_tokens=3, output_tokens=2)
    given = Usage(calls=1, input_tokens=100, output_tokens=50)
    model = scripted(["a"], usage=given, cost=0.25)
    assert say(model, request).usage == given
    assert model.price(given) == 250_000_000_000


def test_latency_passes_on_the_clock_and_a_time_out_ends_it() -> None:
    async def main(clock: VirtualClock) -> None:
        model = scripted(["a"], latency=3.0)
        await model.request(asked())
        assert clock.monotonic() == 3.0
        with pytest.raises(ModelTimeoutError, match="no answer within 2 s"):
            await model.request(asked(timeout=2.0))
        assert clock.monotonic() == 5.0

    run_virtual(main)


def test_the_log_has_a_line_for_each_call(tmp_path: Path) -> None:
    log = tmp_path / "calls.log"
    for model in (scripted(["a", ModelUnavailableError("x")], log=log), scripted(["b"], log=log)):
        say(model, asked(key="run/step"))
    with pytest.raises(ModelUnavailableError):
        say(scripted(["a", ModelUnavailableError("x")], log=str(log)), asked(ordinal=1, attempt=2))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["agent"], line["ordinal"], line["attempt"]) for line in lines] == [
        ("Writer", 0, 1),
        ("Writer", 0, 1),
        ("Writer", 1, 2),
    ]
    assert lines[0]["key"] == "run/step"


def test_a_stream_comes_word_by_word_and_ends_with_the_whole() -> None:
    model = scripted([" One  two\nthree. ", (ADD, ADD)])
    deltas, reply, error = asyncio.run(streamed(model, asked()))
    assert error is None and reply is not None
    assert len(deltas) == 3 and "".join(delta.text for delta in deltas) == reply.text == " One  two\nthree. "
    deltas, reply, _ = asyncio.run(streamed(model, asked(ordinal=1)))
    assert [delta.tool_call for delta in deltas] == [ADD, ADD]


@pytest.mark.parametrize(
    ("replies", "error"),
    [
        ("text", TypeError),
        (7, TypeError),
        ([7], TypeError),
        ([["text"]], TypeError),
        ([int], TypeError),
        ([{}], ValueError),
        ([{"txt": "a"}], ValueError),
        ([{"tool_calls": [{"arguments": {}}]}], ValueError),
        ({"(": "a"}, ValueError),
        ({"a": ["x"], "b": "y"}, ValueError),
    ],
)
def test_what_cannot_be_said(replies: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        scripted(replies)


@pytest.mark.parametrize("options", [{"latency": -1}, {"cost": -0.1}, {"cost": float("inf")}])
def test_numbers_below_zero(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be a number from 0"):
        scripted(["a"], **options)  # type: ignore[arg-type]


def test_a_script_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "script.json"
    file.write_text(json.dumps({"Writer": ["w0", {"text": "w1"}], "Critic": [{"tool_calls": [{"name": "add"}]}]}))
    model = open_model(f"scripted:{file}")
    assert say(model, asked(ordinal=1)).text == "w1"
    assert say(model, asked(agent_name="Critic")).tool_calls[0].arguments == "{}"


@pytest.mark.parametrize("text", ["not JSON", '"text"', '{"a": "b"}', "[7]", '[{"txt": 1}]', "[null]"])
def test_a_file_that_is_no_script(tmp_path: Path, text: str) -> None:
    file = tmp_path / "script.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"script\.json"):
        open_model(f"scripted:{file}")


SHARES = {"errors": 0.2, "timeouts": 0.2, "rate_limits": 0.2, "malformed": 0.2, "slow": 0.1}


def chaotic(seed: int, requests: list[ModelRequest]) -> list[str]:
    """Return what becomes of each request."""

    async def main(clock: VirtualClock) -> list[str]:
        model = chaos(scripted({"": (ADD,)}), seed, **SHARES)
        seen: list[str] = []
        for request in requests:
            begun = clock.monotonic()
            try:
                reply = await model.request(request)
                seen.append(f"{reply.tool_calls[0].arguments} {clock.monotonic() - begun:.3f}")
            except (ModelUnavailableError, ModelTimeoutError, ModelRateLimitError) as error:
                seen.append(f"{type(error).__name__} {getattr(error, 'retry_after', '')} {clock.monotonic() - begun:g}")
        return seen

    return run_virtual(main)


def test_chaos_depends_on_seed_agent_ordinal_and_attempt_alone() -> None:
    requests = [asked(ordinal=n, attempt=a, agent_name=who) for n in range(50) for a in (1, 2) for who in ("A", "B")]
    forwards = chaotic(1, requests)
    assert forwards == chaotic(1, requests)
    assert forwards == chaotic(1, requests[::-1])[::-1]
    other = [asked("other words", ordinal=r.ordinal, attempt=r.attempt, agent_name=r.agent_name) for r in requests]
    assert forwards == chaotic(1, other)
    assert forwards != chaotic(2, requests)
    for ignored in ({"ordinal": 0}, {"attempt": 1}, {"agent_name": "A"}):
        assert forwards != chaotic(1, [msgspec.structs.replace(request, **ignored) for request in requests])


def test_chaos_has_all_its_faults_in_their_shares() -> None:
    seen = chaotic(3, [asked(ordinal=n, timeout=30.0) for n in range(1000)])
    kinds = Counter(
        line.split()[0] if "Error" in line else ("cut" if line.startswith('{"a" ') else "whole") for line in seen
    )
    assert 150 < kinds["ModelUnavailableError"] < 250 and 150 < kinds["ModelTimeoutError"] < 250
    assert 150 < kinds["ModelRateLimitError"] < 250 and 150 < kinds["cut"] < 250
    assert {line.split()[-1] for line in seen if "Timeout" in line} == {"30"}
    waits = [float(line.split()[1]) for line in seen if "RateLimit" in line]
    assert 1 <= min(waits) < max(waits) <= 10
    assert any(float(line.split()[-1]) >= 1 for line in seen if line.startswith("{"))


def test_chaos_without_shares_changes_nothing() -> None:
    model = chaos(scripted(["One two."], cost=0.5), 0)
    assert say(model, asked()).text == "One two."
    assert asyncio.run(streamed(model, asked())) == asyncio.run(streamed(scripted(["One two."]), asked()))
    assert model.price(Usage(calls=1)) == 500_000_000_000


def test_chaos_cuts_a_stream_too() -> None:
    deltas, reply, _ = asyncio.run(streamed(chaos(echo(), 0, malformed=1.0), asked("abcdef")))
    assert reply is not None and reply.text == "abc" == deltas[0].text


@pytest.mark.parametrize(
    "shares", [{"errors": 1.5}, {"slow": -0.1}, {"errors": 0.6, "slow": 0.6}, {"errors": float("nan")}]
)
def test_shares_that_are_none(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="chaos"):
        chaos(echo(), 0, **shares)


def test_the_doubles_are_models_and_are_exported_twice() -> None:
    from shoal import llm, testing

    for made in (echo(), scripted(["a"]), chaos(echo(), 0)):
        assert isinstance(made, Model)
    for name in ("echo", "scripted", "recorded", "chaos"):
        assert getattr(llm, name) is getattr(testing, name)
